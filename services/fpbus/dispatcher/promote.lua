#!lua flags=allow-oom
-- Queue what is due, have workers look at what is held, because tokens come with time, and drop from RQ's registries what has had its time.
-- ARGV: token, enqueued_at, queue ...; returns the data of runs that were delayed, not of those tried again, or 'FENCED'
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local seconds = redis.call('TIME')
local now, promoted = seconds[1] + seconds[2] / 1000000, {}
for i = 3, #ARGV do
  local queue = ARGV[i]
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'rq:scheduled:' .. queue, '-inf', now, 'LIMIT', 0, 500)) do
    redis.call('ZREM', 'rq:scheduled:' .. queue, id)
    if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
      redis.call('HSET', 'rq:job:' .. id, 'status', 'queued', 'enqueued_at', ARGV[2])
      redis.call('RPUSH', 'rq:queue:' .. queue, id)
      if redis.call('HGET', 'fpbus:run:' .. id, 's') == 'delayed' then
        promoted[#promoted + 1] = redis.call('HGET', 'rq:job:' .. id, 'data') or nil
      end
      redis.call('HSET', 'fpbus:run:' .. id, 's', 'queued')
    end
  end
  if redis.call('LLEN', 'rq:queue:' .. queue) > 0 and redis.call('LLEN', 'fpbus:doorbell:' .. queue) == 0 then
    redis.call('RPUSH', 'fpbus:doorbell:' .. queue, '1')
  end
  for _, registry in ipairs({'finished', 'failed', 'canceled'}) do
    redis.call('ZREMRANGEBYSCORE', 'rq:' .. registry .. ':' .. queue, '-inf', seconds[1])
  end
end
ring_held()
return promoted
