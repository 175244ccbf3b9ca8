#!lua flags=allow-oom
-- Set a job aside that no dispatcher of ours has made: it is never run.
-- ARGV: execution, run id, queue, ended_at, keep in s
redis.call('ZREM', 'fpbus:leases', ARGV[1])
redis.call('ZREM', 'rq:wip:' .. ARGV[3], ARGV[1])
redis.call('HSET', 'rq:job:' .. ARGV[2], 'status', 'failed', 'ended_at', ARGV[4])
redis.call('ZADD', 'rq:failed:' .. ARGV[3], redis.call('TIME')[1] + ARGV[5], ARGV[2])
redis.call('EXPIRE', 'rq:job:' .. ARGV[2], ARGV[5])
redis.call('HINCRBY', 'fpbus:counters', 'foreign_jobs', 1)
ring_held(redis.call('HGET', 'rq:job:' .. ARGV[2], 'pipeline'))
