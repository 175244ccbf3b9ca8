#!lua flags=allow-oom
-- End runs whose time has passed while they wait. One that runs by now goes on, and is looked at again later: it may
-- come back into the queue.
-- ARGV: token, ended_at, keep in s; then per run: id, its queue, result, window in s
-- returns 'FENCED', or per run 1 when it was ended, else 0
local LATER_MS = 5000
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local now = redis.call('TIME')
local answers = {}
for i = 4, #ARGV, 4 do
  local id, queue, result, window_s = unpack(ARGV, i, i + 3)
  local waited = unhold(id) or redis.call('ZREM', 'rq:scheduled:' .. queue, id) == 1
                 or redis.call('LREM', 'rq:queue:' .. queue, 1, id) == 1
  if waited then
    end_run({id = id, queue = queue, registry = 'canceled', state = 'cancelled', result = result, ended_at = ARGV[2],
             keep_s = tonumber(ARGV[3]), window_s = tonumber(window_s)})
  elseif redis.call('ZSCORE', 'fpbus:open', id) then
    redis.call('ZADD', 'fpbus:expiring', now[1] * 1000 + LATER_MS, id)
  else
    redis.call('ZREM', 'fpbus:expiring', id)
  end
  answers[#answers + 1] = waited and 1 or 0
end
return answers
