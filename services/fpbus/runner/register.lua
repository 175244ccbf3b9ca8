#!lua flags=allow-oom
-- Show a worker to RQ's tools, and to the dispatcher. A runner can begin while Redis is full, because nobody else
-- empties it. Workers that fell silent long ago are forgotten.
-- ARGV: worker, lease in ms, which queues it serves, how many queues, queue ..., its facts and values
local key, lease_ms, queues = 'rq:worker:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local workers = redis.call('HGETALL', 'fpbus:workers')
for i = 1, #workers, 2 do
  if tonumber(string.match(workers[i + 1], '^%d+')) < now_ms then redis.call('HDEL', 'fpbus:workers', workers[i]) end
end
redis.call('HSET', 'fpbus:workers', ARGV[1], string.format('%.0f', now_ms + lease_ms) .. ' ' .. ARGV[3])
redis.call('DEL', key)
redis.call('HSET', key, unpack(ARGV, 5 + queues))
redis.call('EXPIRE', key, math.ceil(lease_ms / 1000) + 60)
redis.call('SADD', 'rq:workers', key)
for i = 5, 4 + queues do redis.call('SADD', 'rq:workers:' .. ARGV[i], key) end
