#!lua flags=allow-oom
-- Start no more runs of a pipeline, or go on with them, in the order in which they came.
-- ARGV: token, pipeline, since when it is paused, or '' to resume; returns 'FENCED', or 1 when that changed something
local token, pipeline, since = unpack(ARGV)
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
if since ~= '' then return redis.call('HSETNX', 'fpbus:paused', pipeline, since) end
local changed = redis.call('HDEL', 'fpbus:paused', pipeline)
ring_held(pipeline)
return changed
