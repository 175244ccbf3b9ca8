#!lua flags=allow-oom
-- Forget windows whose runs are made. ARGV: token; run ids; returns 'FENCED' or how many there were
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local gone = 0
for i = 2, #ARGV do
  redis.call('DEL', RUN .. ARGV[i], RUN_INPUTS .. ARGV[i])
  gone = gone + redis.call('ZREM', CLOSED, ARGV[i])
end
return gone
