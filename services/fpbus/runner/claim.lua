#!lua flags=allow-oom
-- Take work for one worker, the queues in order, and put each run under a lease.
--
-- RQ's started registry gets a score that never comes: merely counting that registry moves lapsed jobs to failed.
-- ARGV: worker, lease in ms, how many, started_at, queue ...
-- returns per run: execution, run id, data, attempts lost before, '1' when cancelled, '1' when it names callbacks,
--                  queue
local worker, lease_ms, most, started_at = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = redis.call('TIME')
local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + lease_ms
local claims = {}

local function claim(queue, id)
  local key = 'rq:job:' .. id
  local job = redis.call('HMGET', key, 'data', 'lost', 'cancel', 'success_callback_name', 'failure_callback_name',
                         'stopped_callback_name')
  if not job[1] then
    redis.call('HINCRBY', 'fpbus:counters', 'jobs_without_hash', 1)
    return
  end
  local execution = id .. ':' .. redis.call('HINCRBY', key, 'attempt', 1) .. '.' .. worker
  redis.call('ZADD', 'fpbus:leases', expiry, execution)
  redis.call('ZADD', 'rq:wip:' .. queue, '+inf', execution)
  redis.call('HSET', key, 'status', 'started', 'started_at', started_at, 'worker_name', worker)
  if redis.call('EXISTS', 'fpbus:run:' .. id) == 1 then redis.call('HSET', 'fpbus:run:' .. id, 's', 'started') end
  local callbacks = (job[4] or '') .. (job[5] or '') .. (job[6] or '')
  claims[#claims + 1] = {execution, id, job[1], job[2] or '0', job[3] or '', callbacks ~= '' and '1' or '', queue}
end

for i = 5, #ARGV do
  local queue = ARGV[i]
  while #claims < most do
    local id = redis.call('LPOP', 'rq:queue:' .. queue)
    if not id then break end
    claim(queue, id)
  end
  if #claims > 0 and redis.call('LLEN', 'rq:queue:' .. queue) > 0
     and redis.call('LLEN', 'fpbus:doorbell:' .. queue) == 0 then
    redis.call('RPUSH', 'fpbus:doorbell:' .. queue, '1')
  end
end

local key = 'rq:worker:' .. worker
if #claims > 0 then
  redis.call('HSET', key, 'state', 'busy', 'current_job', string.match(claims[1][1], '^[^:]*'))
else
  redis.call('HSET', key, 'state', 'idle')
  redis.call('HDEL', key, 'current_job')
end
return claims
