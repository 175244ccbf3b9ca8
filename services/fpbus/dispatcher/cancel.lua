#!lua flags=allow-oom
-- Cancel a run that waits, or mark one that runs, for its worker to stop.
-- ARGV: token, run id, queue, result, ended_at, keep in s, window in s, '1' when its data is to go as well
-- returns 'FENCED', 'cancelled', 'marked', or 'ended' when there is nothing left to cancel
local token, id, queue, result = unpack(ARGV, 1, 4)
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
if not redis.call('ZSCORE', 'fpbus:open', id) then return 'ended' end
if ARGV[8] == '1' then redis.call('HSET', 'rq:job:' .. id, 'delete', '1') end
local waited = unhold(id) or redis.call('ZREM', 'rq:scheduled:' .. queue, id) == 1
               or redis.call('LREM', 'rq:queue:' .. queue, 1, id) == 1
if not waited then
  redis.call('HSET', 'rq:job:' .. id, 'cancel', '1')
  return 'marked'
end
end_run({id = id, queue = queue, registry = 'canceled', state = 'cancelled', result = result, ended_at = ARGV[5],
         keep_s = tonumber(ARGV[6]), window_s = tonumber(ARGV[7])})
return 'cancelled'
