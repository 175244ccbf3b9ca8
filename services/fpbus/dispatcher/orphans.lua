#!lua flags=no-writes
-- Look at some open runs, oldest first, and tell which of them stand nowhere: in no queue, no line and under no lease.
-- ARGV: token, from which of them on, how many
-- returns 'FENCED', or where to go on (0: from the beginning) and the ids
if redis.call('GET', 'fpbus:dispatcher') ~= ARGV[1] then return 'FENCED' end
local first, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('ZRANGE', 'fpbus:open', first, first + most - 1)
local found = {}
for _, id in ipairs(ids) do
  if not in_place(id) then found[#found + 1] = id end
end
return {#ids == most and first + most or 0, found}
