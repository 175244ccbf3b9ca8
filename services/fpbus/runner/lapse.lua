#!lua flags=allow-oom
-- Let leases run out now. ARGV: what the first of these attempts told of itself or '', then run id and execution of each
local told = ARGV[1]
for i = 2, #ARGV, 2 do
  if redis.call('ZADD', 'fpbus:leases', 'XX', 'CH', 0, ARGV[i + 1]) == 1 and told ~= '' then
    redis.call('HSET', 'rq:job:' .. ARGV[i], 'account', told, 'account_of', ARGV[i + 1])
  end
  told = ''
end
