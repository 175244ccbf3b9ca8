"""Lua for both sides of Redis: whether a run may start now, and where it waits when it may not.

A run that may not start (its pipeline is paused, at its limit, or over its rate) is *held*: taken out of the
queue, so that it stands in nobody's way, and put into line by `seq`, its place among all runs. Claims look at what
is held before they look at the queue, and take what may start by then: nothing has to move it back, so nothing can
forget to. What frees a slot only rings for the workers.

How many run is counted from the leases, when it matters: a slot cannot leak. A lease that has run out counts until
it is settled, because its worker may come back.

Where keys are limited, each key's runs are a group of their own, so that a key at its limit holds up no other.
"""

from typing import Final

#: `ring(queue)` has an idle worker look; `ring_held(pipeline)` wherever runs of it are held.
RING: Final = """
local function ring(queue)
  local bell = 'fpbus:doorbell:' .. queue
  if redis.call('LLEN', bell) == 0 then redis.call('RPUSH', bell, '1') end
end

local function ring_held(pipeline)
  if redis.call('EXISTS', 'fpbus:held:counts') == 0 then return end
  for _, place in ipairs(redis.call('HKEYS', 'fpbus:held:counts')) do
    local queue, name = string.match(place, '^(.*):([^:]*)$')
    if (not pipeline or name == pipeline) and redis.call('HEXISTS', 'fpbus:paused', name) == 0 then ring(queue) end
  end
end
"""

#: `come_back(id, queue)` puts a run that was handed back, or lost, where it stood: in line if others of its pipeline
#: are in line by now, else at the head of the queue.
COME_BACK: Final = """
local function come_back(id, queue)
  local job = redis.call('HMGET', 'rq:job:' .. id, 'pipeline', 'key', 'seq')
  if job[1] and redis.call('HEXISTS', 'fpbus:held:counts', queue .. ':' .. job[1]) == 1 then
    hold(id, queue, job[1], job[2] or '', job[3] or 0, 'turn')
  else
    redis.call('LPUSH', 'rq:queue:' .. queue, id)
  end
  redis.call('RPUSH', 'fpbus:doorbell:' .. queue, '1')
end
"""

#: `unhold(id)` takes a run out of the line; false when it did not stand there.
UNHOLD: Final = """
local function leave_line(id, queue, pipeline, group)
  local place = queue .. ':' .. pipeline
  local groups = 'fpbus:held:' .. place
  local line = groups .. ':' .. group
  redis.call('ZREM', line, id)
  local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', groups, first[2], group) else redis.call('ZREM', groups, group) end
  if redis.call('ZREM', 'fpbus:held', id) == 1 and redis.call('HINCRBY', 'fpbus:held:counts', place, -1) <= 0 then
    redis.call('HDEL', 'fpbus:held:counts', place)
  end
end

local function unhold(id)
  if not redis.call('ZSCORE', 'fpbus:held', id) then return false end
  local job = redis.call('HMGET', 'rq:job:' .. id, 'origin', 'pipeline', 'group')
  if job[1] and job[2] then leave_line(id, job[1], job[2], job[3] or '') end
  redis.call('HDEL', 'rq:job:' .. id, 'held', 'group')
  redis.call('ZREM', 'fpbus:held', id)
  return true
end
"""

#: `why_held(pipeline, key)` is false when a run may start; `hold` puts it into line; `begin` counts one that starts.
HOLD: Final = """
local clock = redis.call('TIME')
local clock_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local guarded = redis.call('EXISTS', 'fpbus:limits', 'fpbus:paused') > 0
local rules, running = {}, nil

local function rule_of(pipeline)
  if rules[pipeline] == nil then
    local text = redis.call('HGET', 'fpbus:limits', pipeline)
    rules[pipeline] = text and cjson.decode(text) or false
  end
  return rules[pipeline]
end

local function note_running(pipeline, key)
  local of_key = pipeline .. '\\0' .. key
  running[pipeline] = (running[pipeline] or 0) + 1
  running[of_key] = (running[of_key] or 0) + 1
end

local function count_running()
  running = {}
  for _, execution in ipairs(redis.call('ZRANGE', 'fpbus:leases', 0, -1)) do
    local job = redis.call('HMGET', 'rq:job:' .. string.match(execution, '^[^:]*'), 'pipeline', 'key')
    if job[1] then note_running(job[1], job[2] or '') end
  end
end

local function tokens_of(pipeline, rule)
  local bucket = redis.call('HMGET', 'fpbus:rate:' .. pipeline, 'tokens', 'at')
  if not bucket[1] then return rule.burst end
  return math.min(rule.burst, bucket[1] + math.max(0, clock_ms - bucket[2]) / 1000 * rule.per_s)
end

local function why_held(pipeline, key)
  if not guarded or not pipeline then return false end
  if redis.call('HEXISTS', 'fpbus:paused', pipeline) == 1 then return 'paused' end
  local rule = rule_of(pipeline)
  if not rule then return false end
  if not running then count_running() end
  if rule.max_running and (running[pipeline] or 0) >= rule.max_running then return 'limit' end
  if rule.per_s and tokens_of(pipeline, rule) < 1 then return 'rate' end
  if rule.max_running_per_key and key ~= '' and
     (running[pipeline .. '\\0' .. key] or 0) >= rule.max_running_per_key then return 'key' end
  return false
end

local function begin(pipeline, key)
  if not guarded or not pipeline then return end
  local rule = rule_of(pipeline)
  if not rule then return end
  if running then note_running(pipeline, key) end
  if rule.per_s then
    local bucket = 'fpbus:rate:' .. pipeline
    redis.call('HSET', bucket, 'tokens', tokens_of(pipeline, rule) - 1, 'at', clock_ms)
    redis.call('PEXPIRE', bucket, math.ceil(rule.burst / rule.per_s * 1000) + 1000)
  end
end

local function hold(id, queue, pipeline, key, seq, why)
  local rule = rule_of(pipeline)
  local group = rule and rule.max_running_per_key and key or ''
  local place = queue .. ':' .. pipeline
  redis.call('HSET', 'rq:job:' .. id, 'held', why == 'key' and 'limit' or why, 'group', group)
  redis.call('ZADD', 'fpbus:held:' .. place, 'LT', seq, group)
  redis.call('ZADD', 'fpbus:held:' .. place .. ':' .. group, seq, id)
  if redis.call('ZADD', 'fpbus:held', seq, id) == 1 then redis.call('HINCRBY', 'fpbus:held:counts', place, 1) end
end
"""
