#!lua flags=allow-oom
-- Take, keep or inherit the lease of the active dispatcher.
-- ARGV: token, lease in ms, token of one that is known to be gone or ''; returns 1 when the lease is ours
local holder = redis.call('GET', 'fpbus:dispatcher')
if not holder or holder == ARGV[1] or holder == ARGV[3] then
  redis.call('SET', 'fpbus:dispatcher', ARGV[1], 'PX', ARGV[2])
  return 1
end
return 0
