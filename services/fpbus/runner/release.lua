#!lua flags=allow-oom
-- Hand a run back that was claimed: to the head of its queue, for the next worker.
-- ARGV: execution, run id, queue, '1' when it had been started; returns 'done' or 'FENCED'
local execution, id, queue, started = unpack(ARGV)
if redis.call('ZREM', 'fpbus:leases', execution) == 0 then return 'FENCED' end
redis.call('ZREM', 'rq:wip:' .. queue, execution)
local pipeline = redis.call('HGET', 'rq:job:' .. id, 'pipeline')
if started ~= '1' then
  redis.call('HINCRBY', 'rq:job:' .. id, 'attempt', -1)
  local bucket = 'fpbus:rate:' .. (pipeline or '')
  if redis.call('EXISTS', bucket) == 1 then redis.call('HINCRBYFLOAT', bucket, 'tokens', 1) end
end
redis.call('HSET', 'rq:job:' .. id, 'status', 'queued', 'worker_name', '')
redis.call('HSET', 'fpbus:run:' .. id, 's', 'queued')
come_back(id, queue)
ring_held(pipeline)
return 'done'
