#!lua flags=allow-oom
-- Close the windows that are due, and tell of those that are closed and whose runs are not made yet, oldest first.
-- ARGV: token, now in ms or '' for Redis' own, how many at most, of how many bytes together
-- returns 'FENCED', or ms until something is due (-1: nothing), then per run: id, pipeline and trigger, job, as, inputs
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local now, most, most_bytes = now_ms(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

for _, place in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, most)) do close(place, now) end
write_counts()

local answers, bytes = {next_in(now)}, 0
for _, run in ipairs(redis.call('ZRANGE', CLOSED, 0, most - 1)) do
  local facts = redis.call('HMGET', RUN .. run, 'of', 'job', 'as', 'bytes')
  bytes = bytes + #facts[2] + facts[4]
  if bytes > most_bytes and #answers > 1 then break end
  answers[#answers + 1] = {run, facts[1], facts[2], facts[3] or '', redis.call('LRANGE', RUN_INPUTS .. run, 0, -1)}
end
return answers
