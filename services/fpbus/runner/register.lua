#!lua flags=allow-oom
-- Show a worker to RQ's tools. A runner can begin while Redis is full, because nobody else empties it.
-- ARGV: worker, how long it is believed without a heartbeat, in s, how many queues, queue ..., its facts and values
local key, expiry_s, queues = 'rq:worker:' .. ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('DEL', key)
redis.call('HSET', key, unpack(ARGV, 4 + queues))
redis.call('EXPIRE', key, expiry_s)
redis.call('SADD', 'rq:workers', key)
for i = 4, 3 + queues do redis.call('SADD', 'rq:workers:' .. ARGV[i], key) end
