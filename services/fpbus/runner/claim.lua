#!lua flags=allow-oom
-- Take work for one worker, the queues in order, and put each run under a lease. What may not start is held.
--
-- RQ's started registry gets a score that never comes: merely counting that registry moves lapsed jobs to failed.
-- ARGV: worker, lease in ms, how many, started_at, queue ...
-- returns per run: execution, run id, data, attempts lost before, '1' when cancelled, '1' when it names callbacks,
--                  queue
local MOST_HELD = 500  -- in one go: nobody else is served meanwhile
local worker, lease_ms, most, started_at = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local expiry = clock_ms + lease_ms
local claims, put_aside = {}, 0

-- What somebody else has put in the place of a job or a queue counts as nothing there: the others go on.
local function read(id)
  local job = redis.pcall('HMGET', 'rq:job:' .. id, 'data', 'lost', 'cancel', 'success_callback_name',
                          'failure_callback_name', 'stopped_callback_name', 'pipeline', 'key', 'seq')
  return job.err and {} or job
end

local function pop(queue)
  local id = redis.pcall('LPOP', 'rq:queue:' .. queue)
  return type(id) == 'string' and id
end

local function claim(queue, id, job)
  local key = 'rq:job:' .. id
  local execution = id .. ':' .. redis.call('HINCRBY', key, 'attempt', 1) .. '.' .. worker
  redis.call('ZADD', 'fpbus:leases', expiry, execution)
  redis.call('ZADD', 'rq:wip:' .. queue, '+inf', execution)
  redis.call('HSET', key, 'status', 'started', 'started_at', started_at, 'worker_name', worker)
  if redis.call('EXISTS', 'fpbus:run:' .. id) == 1 then redis.call('HSET', 'fpbus:run:' .. id, 's', 'started') end
  local callbacks = (job[4] or '') .. (job[5] or '') .. (job[6] or '')
  claims[#claims + 1] = {execution, id, job[1], job[2] or '0', job[3] or '', callbacks ~= '' and '1' or '', queue}
  begin(job[7], job[8] or '')
end

local function count_missing()
  redis.call('HINCRBY', 'fpbus:counters', 'jobs_without_hash', 1)
end

-- Of one group what may start, in its order; false when its whole pipeline has to wait.
local function claim_group(queue, pipeline, group)
  while #claims < most do
    local id = redis.call('ZRANGE', 'fpbus:held:' .. queue .. ':' .. pipeline .. ':' .. group, 0, 0)[1]
    if not id then return true end
    local job = read(id)
    local why = job[1] and why_held(pipeline, job[8] or '')
    if why then return why == 'key' end
    leave_line(id, queue, pipeline, group)
    redis.call('HDEL', 'rq:job:' .. id, 'held', 'group')
    if job[1] then claim(queue, id, job) else count_missing() end
  end
  return true
end

local function claim_held(queue)
  for _, place in ipairs(redis.call('HKEYS', 'fpbus:held:counts')) do
    local on, pipeline = string.match(place, '^(.*):([^:]*)$')
    local at = 0
    while on == queue and #claims < most do
      local group = redis.call('ZRANGE', 'fpbus:held:' .. place, at, at)[1]
      if not group or not claim_group(queue, pipeline, group) then break end
      if redis.call('ZSCORE', 'fpbus:held:' .. place, group) then at = at + 1 end
    end
  end
end

local function claim_queued(queue)
  while #claims < most and put_aside < MOST_HELD do
    local id = pop(queue)
    if not id then return end
    local job = read(id)
    local why = job[1] and why_held(job[7], job[8] or '')
    if why then
      hold(id, queue, job[7], job[8] or '', job[9] or 0, why)
      put_aside = put_aside + 1
    elseif job[1] then
      claim(queue, id, job)
    else
      count_missing()
    end
  end
end

local some_held = redis.call('EXISTS', 'fpbus:held:counts') == 1
for i = 5, #ARGV do
  local queue = ARGV[i]
  if some_held then claim_held(queue) end
  claim_queued(queue)
  local left = (#claims > 0 or put_aside >= MOST_HELD) and redis.pcall('LLEN', 'rq:queue:' .. queue)
  if type(left) == 'number' and left > 0 then ring(queue) end
end
if some_held and #claims == most then ring_held() end

local key = 'rq:worker:' .. worker
if #claims > 0 then
  redis.call('HSET', key, 'state', 'busy', 'current_job', string.match(claims[1][1], '^[^:]*'))
else
  redis.call('HSET', key, 'state', 'idle')
  redis.call('HDEL', key, 'current_job')
end
return claims
