#!lua flags=allow-oom
-- Put the limits of all pipelines in force. ARGV: token; pipeline, limits as JSON ...; returns 'FENCED' or 'done'
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
redis.call('DEL', 'fpbus:limits')
for i = 2, #ARGV, 2 do redis.call('HSET', 'fpbus:limits', ARGV[i], ARGV[i + 1]) end
ring_held()
return 'done'
