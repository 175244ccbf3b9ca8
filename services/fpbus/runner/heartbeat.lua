#!lua flags=allow-oom
-- Keep the leases of a runner, and hear what became of them.
-- ARGV: lease in ms, last_heartbeat, which queues the workers serve, how many workers, worker ..., execution ...
-- returns the executions that are not ours any more, and those that somebody wants cancelled
local lease_ms, workers = tonumber(ARGV[1]), tonumber(ARGV[4])
local now = redis.call('TIME')
local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + lease_ms
local superseded, cancelled = {}, {}
for i = 5, 4 + workers do
  redis.call('HSET', 'fpbus:workers', ARGV[i], string.format('%.0f', expiry) .. ' ' .. ARGV[3])
  redis.call('HSET', 'rq:worker:' .. ARGV[i], 'last_heartbeat', ARGV[2])
  redis.call('EXPIRE', 'rq:worker:' .. ARGV[i], math.ceil(lease_ms / 1000) + 60)
end
for i = 5 + workers, #ARGV do
  local execution = ARGV[i]
  if redis.call('ZSCORE', 'fpbus:leases', execution) then
    redis.call('ZADD', 'fpbus:leases', 'XX', expiry, execution)
    if redis.call('HGET', 'rq:job:' .. string.match(execution, '^[^:]*'), 'cancel') then
      cancelled[#cancelled + 1] = execution
    end
  else
    superseded[#superseded + 1] = execution
  end
end
return {superseded, cancelled}
