#!lua flags=allow-oom
-- The history has these results: they leave the outbox, and their jobs go soon. What is not in the outbox is left
-- alone: a receipt may be repeated, or made up for a run that still needs its job. What still makes other runs stays,
-- and is published and recorded once more.
-- ARGV: token, how long a recorded job stays, in s; run ids
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local keep_s, now = tonumber(ARGV[2]), redis.call('TIME')[1]
for i = 3, #ARGV do
  local id = ARGV[i]
  if not redis.call('ZSCORE', 'fpbus:ended', id) and redis.call('HDEL', 'fpbus:outbox', id) == 1 then
    redis.call('ZREM', 'fpbus:outbox:due', id)
    local job = redis.call('HMGET', 'rq:job:' .. id, 'origin', 'status')
    if job[1] then
      redis.call('EXPIRE', 'rq:job:' .. id, keep_s)
      redis.call('EXPIRE', 'rq:results:' .. id, keep_s)
      redis.call('ZADD', 'rq:' .. job[2] .. ':' .. job[1], 'XX', now + keep_s, id)
    end
  end
end
return #ARGV - 2
