-- The history has these results: they leave the outbox, and their jobs go soon.
-- ARGV: how long a recorded job stays, in s; run ids
local keep_s, now = tonumber(ARGV[1]), redis.call('TIME')[1]
for i = 2, #ARGV do
  local id = ARGV[i]
  redis.call('HDEL', 'fpbus:outbox', id)
  redis.call('ZREM', 'fpbus:outbox:due', id)
  local job = redis.call('HMGET', 'rq:job:' .. id, 'origin', 'status')
  if job[1] then
    redis.call('EXPIRE', 'rq:job:' .. id, keep_s)
    redis.call('EXPIRE', 'rq:results:' .. id, keep_s)
    redis.call('ZADD', 'rq:' .. job[2] .. ':' .. job[1], 'XX', now + keep_s, id)
  end
end
return #ARGV - 1
