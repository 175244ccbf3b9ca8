#!lua flags=allow-oom
-- Hand a run back that was claimed: to the head of its queue, for the next worker.
-- ARGV: execution, run id, queue, '1' when it had been started; returns 'done' or 'FENCED'
local execution, id, queue, started = unpack(ARGV)
if redis.call('ZREM', 'fpbus:leases', execution) == 0 then return 'FENCED' end
redis.call('ZREM', 'rq:wip:' .. queue, execution)
if started ~= '1' then redis.call('HINCRBY', 'rq:job:' .. id, 'attempt', -1) end
redis.call('HSET', 'rq:job:' .. id, 'status', 'queued', 'worker_name', '')
redis.call('HSET', 'fpbus:run:' .. id, 's', 'queued')
redis.call('LPUSH', 'rq:queue:' .. queue, id)
redis.call('RPUSH', 'fpbus:doorbell:' .. queue, '1')
return 'done'
