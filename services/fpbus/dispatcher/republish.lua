#!lua flags=allow-oom
-- Take from the outbox what was published a while ago and has no receipt, as published now.
-- ARGV: token, for how long it must have lain there, in ms, how many at most; returns the results, or 'FENCED'
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local results = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'fpbus:outbox:due', '-inf', millis - ARGV[2], 'LIMIT', 0, ARGV[3])) do
  redis.call('ZADD', 'fpbus:outbox:due', millis, id)
  results[#results + 1] = redis.call('HGET', 'fpbus:outbox', id) or nil
end
return results
