#!lua
-- Make runs of all messages in hand: job, queue, and last the ledger, because a script that dies half-way is
-- not rolled back. What is in the ledger already is told apart by its digest: the same run again, or a conflict.
-- A run that may not start yet does not go into the queue, but into the line beside it.
-- The one script that a full Redis refuses, before it begins: all others finish work, or free memory.
--
-- ARGV: token, lease in ms, how many deliveries without a run id to remember, count;
--       then per message: run id, digest, pipeline, queue, key, due in ms or '', packet id or '', '1' for a
--       redelivery, '1' when it has expired, until when it must start in ms or '', number of job fields, the job's
--       fields and values
-- returns 'FENCED', or per message the outcome (new, same, conflict, expired), the run id and the run's state
local token, lease_ms, remembered, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
redis.call('PEXPIRE', 'fpbus:dispatcher', lease_ms)

local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local rung, opened, answers, at = {}, {}, {}, 5
local seq = tonumber(redis.call('GET', 'fpbus:seq') or 0)
local seq_before = seq

-- Before anything of a run is written: a key of the wrong type would stop the script in the middle of it.
local function check_keys(queue)
  local kinds = {['rq:queues'] = 'set', ['rq:queue:' .. queue] = 'list', ['rq:scheduled:' .. queue] = 'zset',
                 ['fpbus:doorbell:' .. queue] = 'list', ['fpbus:open'] = 'zset', ['fpbus:expiring'] = 'zset', ['fpbus:deliveries'] = 'hash',
                 ['fpbus:deliveries:order'] = 'list', ['fpbus:queues'] = 'zset', ['fpbus:held'] = 'zset', ['fpbus:held:counts'] = 'hash'}
  for key, kind in pairs(kinds) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then error(key .. ' is a ' .. found .. ', where a ' .. kind .. ' belongs') end
  end
end

-- A packet id that comes again keeps its place: brokers that use few of them must not push out what is new.
local function remember(packet, digest, id)
  if redis.call('HSET', 'fpbus:deliveries', packet, digest .. id) == 0 then return end
  if redis.call('RPUSH', 'fpbus:deliveries:order', packet) > remembered then
    redis.call('HDEL', 'fpbus:deliveries', redis.call('LPOP', 'fpbus:deliveries:order'))
  end
end

local function first_id(packet, digest)
  local seen = redis.call('HGET', 'fpbus:deliveries', packet)
  if not seen or string.sub(seen, 1, #digest) ~= digest then return nil end
  local id = string.sub(seen, #digest + 1)
  return redis.call('EXISTS', 'fpbus:run:' .. id) == 1 and id
end

for _ = 1, count do
  local id, digest, pipeline, queue, key, due, packet, again, expired, start_until, fields = unpack(ARGV, at, at + 10)
  local first, last = at + 11, at + 10 + tonumber(fields)
  at = last + 1
  if packet ~= '' and again == '1' then id = first_id(packet, digest) or id end
  local ledger = 'fpbus:run:' .. id
  local known = redis.call('HMGET', ledger, 'd', 's')
  if known[1] then
    answers[#answers + 1] = {known[1] == digest and 'same' or 'conflict', id, known[2]}
  elseif expired == '1' then
    answers[#answers + 1] = {'expired', id, 'cancelled'}
  else
    local state = due == '' and 'queued' or 'delayed'
    if not opened[queue] then check_keys(queue) end
    seq = seq + 1
    redis.call('HSET', 'rq:job:' .. id, 'seq', seq, unpack(ARGV, first, last))
    if not opened[queue] then
      redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
      redis.call('ZADD', 'fpbus:queues', 'NX', millis, queue)
      opened[queue] = true
    end
    local why = due == '' and why_held(pipeline, key)
    if why then
      hold(id, queue, pipeline, key, seq, why)
    elseif due == '' then
      redis.call('RPUSH', 'rq:queue:' .. queue, id)
      rung[queue] = true
    else
      redis.call('ZADD', 'rq:scheduled:' .. queue, due / 1000, id)
    end
    redis.call('ZADD', 'fpbus:open', millis, id)
    if start_until ~= '' then redis.call('ZADD', 'fpbus:expiring', start_until, id) end
    if packet ~= '' then remember(packet, digest, id) end
    redis.call('HSET', ledger, 'd', digest, 's', state, 'p', pipeline)
    answers[#answers + 1] = {'new', id, state}
  end
end

if seq > seq_before then redis.call('SET', 'fpbus:seq', seq) end

-- One ring is enough: a worker that leaves work behind rings for the next.
for queue in pairs(rung) do
  if redis.call('LLEN', 'fpbus:doorbell:' .. queue) == 0 then redis.call('RPUSH', 'fpbus:doorbell:' .. queue, '1') end
end
return answers
