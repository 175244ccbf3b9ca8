#!lua flags=allow-oom
-- End runs that are held, because their pipeline's limit skips what is too much. One that may run by now does.
-- ARGV: token, ended_at, keep in s; then per run: id, its queue, result, window in s
-- returns 'FENCED', or per run 1 when it was ended, else 0
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local answers = {}
for i = 4, #ARGV, 4 do
  local id, queue, result, window_s = unpack(ARGV, i, i + 3)
  answers[#answers + 1] = unhold(id) and 1 or 0
  if answers[#answers] == 1 then
    end_run({id = id, queue = queue, registry = 'canceled', state = 'cancelled', result = result, ended_at = ARGV[2],
             keep_s = tonumber(ARGV[3]), window_s = tonumber(window_s)})
  end
end
return answers
