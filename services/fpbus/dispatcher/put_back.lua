#!lua flags=allow-oom
-- Give an open run that stands nowhere its place again, or end it.
-- ARGV: token, run id, queue, when it is due in ms or '', '1' when its attempt counts as lost, result of a dead run
--       or '', ended_at, keep in s, window in s
-- returns 'FENCED', 'LATE' (it has a place or an end by now), 'dead', 'delayed' or 'queued'
local token, id, queue, due, lost, result = unpack(ARGV, 1, 6)
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
if not redis.call('ZSCORE', 'fpbus:open', id) or in_place(id) then return 'LATE' end
local job = 'rq:job:' .. id
redis.call('HINCRBY', 'fpbus:counters', 'put_back', 1)
if result ~= '' then
  if lost == '' then redis.call('DEL', job) end  -- it is no job, or none of ours
  end_run({id = id, queue = queue, registry = 'failed', state = 'dead', result = result, ended_at = ARGV[7],
           keep_s = tonumber(ARGV[8]), window_s = tonumber(ARGV[9])})
  return 'dead'
end
if lost == '1' then
  redis.call('HINCRBY', job, 'lost', 1)
  redis.call('HINCRBY', 'fpbus:counters', 'lost_attempts', 1)
end
if due ~= '' then
  redis.call('HSET', job, 'status', 'scheduled', 'worker_name', '')
  redis.call('ZADD', 'rq:scheduled:' .. queue, due / 1000, id)
  redis.call('HSET', 'fpbus:run:' .. id, 's', 'delayed')
  return 'delayed'
end
redis.call('HSET', job, 'status', 'queued', 'worker_name', '')
redis.call('HSET', 'fpbus:run:' .. id, 's', 'queued')
come_back(id, queue)
return 'queued'
