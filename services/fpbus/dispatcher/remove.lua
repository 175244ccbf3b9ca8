#!lua flags=allow-oom
-- Take the data of runs that have ended out of Redis. The ledger stays, so that their ids stay taken, and so do
-- results that the history does not have yet.
-- ARGV: token; run ids; returns 'FENCED' or how many had data
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local removed = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local origin = not redis.call('ZSCORE', 'fpbus:open', id) and redis.call('HGET', 'rq:job:' .. id, 'origin')
  if origin then
    for _, registry in ipairs({'finished', 'failed', 'canceled'}) do
      redis.call('ZREM', 'rq:' .. registry .. ':' .. origin, id)
    end
    removed = removed + redis.call('DEL', 'rq:job:' .. id)
    redis.call('DEL', 'rq:results:' .. id)
  end
end
return removed
