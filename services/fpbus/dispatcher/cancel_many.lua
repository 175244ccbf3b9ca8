#!lua flags=allow-oom
-- Cancel runs that were just seen between two places of a queue, or elsewhere; mark those that run by now.
-- Taking each out of the list by itself would walk the list each time: they are blanked where they stand, then the
-- blanks are taken out in one walk from the end.
-- ARGV: token, queue, from, to (places counted from the end, as negative numbers), ended_at, keep in s,
--       '1' when their data is to go as well; then per run: id, its queue, result, window in s
-- returns 'FENCED', or per run 'cancelled', 'marked' or 'ended'
local token, listed, from, to, ended_at, keep_s, delete = unpack(ARGV, 1, 7)
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
local list, answers, in_list, left = 'rq:queue:' .. listed, {}, {}, 0

local function take_out(id, queue)
  if unhold(id) or redis.call('ZREM', 'rq:scheduled:' .. queue, id) == 1 then return true end
  if redis.call('HGET', 'fpbus:run:' .. id, 's') ~= 'queued' then return false end
  if queue ~= listed then return redis.call('LREM', 'rq:queue:' .. queue, -1, id) == 1 end
  in_list[id], left = true, left + 1
  return true
end

for i = 8, #ARGV, 4 do
  local id, queue, result, window_s = unpack(ARGV, i, i + 3)
  if not redis.call('ZSCORE', 'fpbus:open', id) then
    answers[#answers + 1] = 'ended'
  else
    if delete == '1' then redis.call('HSET', 'rq:job:' .. id, 'delete', '1') end
    if take_out(id, queue) then
      end_run({id = id, queue = queue, registry = 'canceled', state = 'cancelled', result = result,
               ended_at = ended_at, keep_s = tonumber(keep_s), window_s = tonumber(window_s)})
      answers[#answers + 1] = 'cancelled'
    else
      redis.call('HSET', 'rq:job:' .. id, 'cancel', '1')
      answers[#answers + 1] = 'marked'
    end
  end
end

if left == 0 then return answers end
local size, blanks = redis.call('LLEN', list), 0
local first = math.max(0, size + from)
for place, id in ipairs(redis.call('LRANGE', list, first, math.max(0, size + to))) do
  if in_list[id] then
    redis.call('LSET', list, first + place - 1, '')
    in_list[id], blanks = nil, blanks + 1
  end
end
if blanks > 0 then redis.call('LREM', list, -blanks, '') end
for id in pairs(in_list) do redis.call('LREM', list, 1, id) end
return answers
