#!lua flags=allow-oom
-- End an attempt: its run for good, or with another try to come. Only whoever still has the lease may.
--
-- ARGV: execution, run id, queue, result, ended_at, keep in s, window in s, then either
--       'end', state, registry, RQ's result type, RQ's return value, worker  or
--       'retry', delay in ms
-- returns 'done' or 'FENCED'
local execution, id, queue, result, ended_at = unpack(ARGV, 1, 5)
if redis.call('ZREM', 'fpbus:leases', execution) == 0 then
  redis.call('HINCRBY', 'fpbus:counters', 'superseded_results', 1)
  return 'FENCED'
end
redis.call('ZREM', 'rq:wip:' .. queue, execution)
local job = 'rq:job:' .. id
ring_held(redis.call('HGET', job, 'pipeline'))
if ARGV[8] == 'retry' then
  local now = redis.call('TIME')
  redis.call('HSET', job, 'status', 'scheduled', 'worker_name', '')
  redis.call('ZADD', 'rq:scheduled:' .. queue, now[1] + now[2] / 1000000 + ARGV[9] / 1000, id)
  redis.call('HSET', 'fpbus:run:' .. id, 's', 'retrying')
  return 'done'
end
local results, kind, worker = 'rq:results:' .. id, ARGV[11], ARGV[13]
redis.call('XADD', results, 'MAXLEN', 10, '*', 'type', kind, kind == '1' and 'return_value' or 'exc_string', ARGV[12],
           'worker_name', worker)
redis.call('HINCRBY', 'rq:worker:' .. worker, kind == '1' and 'successful_job_count' or 'failed_job_count', 1)
end_run({id = id, queue = queue, registry = ARGV[10], state = ARGV[9], result = result, ended_at = ended_at,
         keep_s = tonumber(ARGV[6]), window_s = tonumber(ARGV[7])})
return 'done'
