#!lua flags=allow-oom
-- Begin a new session: its packet ids mean other messages than before.
-- ARGV: token; returns 'FENCED' or 'done'
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
redis.call('DEL', 'fpbus:deliveries', 'fpbus:deliveries:order', 'fpbus:windows:deliveries',
           'fpbus:windows:deliveries:order')
return 'done'
