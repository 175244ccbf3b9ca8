#!lua flags=allow-oom
-- Settle an execution whose worker went silent: once more into the queue, at its head, or dead.
-- ARGV: token, execution, run id, queue, result of a dead run or '', ended_at, keep in s, window in s
-- returns 'FENCED', 'LATE' (the worker was heard after all), 'queued' or 'dead'
local token, execution, id, queue, result = unpack(ARGV, 1, 5)
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
local now = redis.call('TIME')
local expiry = redis.call('ZSCORE', 'fpbus:leases', execution)
if not expiry or tonumber(expiry) > now[1] * 1000 + math.floor(now[2] / 1000) then return 'LATE' end
redis.call('ZREM', 'fpbus:leases', execution)
redis.call('ZREM', 'rq:wip:' .. queue, execution)
redis.call('HINCRBY', 'rq:job:' .. id, 'lost', 1)
redis.call('HINCRBY', 'fpbus:counters', 'lost_attempts', 1)
ring_held(redis.call('HGET', 'rq:job:' .. id, 'pipeline'))
if result ~= '' then
  end_run({id = id, queue = queue, registry = 'failed', state = 'dead', result = result, ended_at = ARGV[6],
           keep_s = tonumber(ARGV[7]), window_s = tonumber(ARGV[8])})
  return 'dead'
end
redis.call('HSET', 'rq:job:' .. id, 'status', 'queued', 'worker_name', '')
redis.call('HSET', 'fpbus:run:' .. id, 's', 'queued')
come_back(id, queue)
return 'queued'
