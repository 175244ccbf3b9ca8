#!lua
-- Take messages into their windows, all in one script. A full Redis refuses it before it begins.
-- ARGV: token, now in ms or '' for Redis' own, how many deliveries to remember, most bytes of a batch; then per message:
--       place, its pipeline and trigger, pipeline as run ids begin, kind, job, inputs, delivery or '', its digest,
--       '1' for a redelivery, its own number or '', how long that is remembered in ms, size, span in ms, most ms, as
-- returns 'FENCED', or ms until something is due (-1: nothing), then per message what it became and its run's id or ''
local token, given, remembered, most_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('GET', 'fpbus:dispatcher') ~= token then return 'FENCED' end
local now = now_ms(given)

-- The id is the run's for good: a script that is repeated finds it here or in the ledger.
local function begin(m)
  local seq = redis.call('INCR', 'fpbus:windows:seq')
  local run = m.prefix .. '-window-' .. string.sub(redis.sha1hex(m.place .. '\0' .. seq .. '\0' .. now), 1, 20)
  redis.call('HSET', OPEN .. m.place, 'run', run, 'seq', seq, 'of', m.of, 'kind', m.kind, 'count', 0, 'bytes', 0,
             'span', m.span, 'first', now)
  return run
end

local function run_of(m)
  local run = redis.call('HGET', OPEN .. m.place, 'run')
  if run then count(m.of, 'replaced', 1) else run = begin(m) end
  redis.call('HSET', OPEN .. m.place, 'job', m.job, 'count', 1)
  return run
end

local become = {}

function become.batch(m)
  local open = redis.call('HMGET', OPEN .. m.place, 'run', 'bytes')
  if open[1] and open[2] + #m.inputs > most_bytes then
    close(m.place, now)
    open[1] = false
  end
  local run = open[1]
  if not run then
    run = begin(m)
    redis.call('HSET', OPEN .. m.place, 'job', m.job, 'as', m.as)
    redis.call('ZADD', DUE, now + m.span, m.place)
  end
  redis.call('RPUSH', INPUTS .. m.place, m.inputs)
  redis.call('HINCRBY', OPEN .. m.place, 'bytes', #m.inputs)
  if redis.call('HINCRBY', OPEN .. m.place, 'count', 1) < m.size then return 'held', run end
  close(m.place, now)
  return 'run', run
end

function become.debounce(m)
  local run = run_of(m)
  local due = now + m.span
  if m.most > 0 then due = math.min(due, redis.call('HGET', OPEN .. m.place, 'first') + m.most) end
  redis.call('ZADD', DUE, due, m.place)
  return 'held', run
end

function become.throttle(m)
  if redis.call('ZSCORE', DUE, m.place) then
    count(m.of, 'discarded', 1)
    return 'discarded', ''
  end
  local run = run_of(m)
  close(m.place, now)
  return 'run', run
end

function become.latest(m)
  local resting = redis.call('ZSCORE', DUE, m.place)
  local run = run_of(m)
  if resting then return 'held', run end
  close(m.place, now)
  return 'run', run
end

-- What is due, or was begun under another kind of window, ends before the next message comes in.
local function make_way(m)
  local due = redis.call('ZSCORE', DUE, m.place)
  if due and tonumber(due) <= now then close(m.place, now) end
  local kind = redis.call('HGET', OPEN .. m.place, 'kind')
  if kind and kind ~= m.kind then
    close(m.place, now)
    redis.call('DEL', OPEN .. m.place)
    redis.call('ZREM', DUE, m.place)
  end
end

local function number_key(m) return 'fpbus:window:number:' .. m.of .. ':' .. m.number end

-- Packet ids are used again for other messages: only a redelivery of the same content is the same message.
local function before(m)
  if m.number ~= '' then return redis.call('GET', number_key(m)) end
  if m.delivery == '' or m.again ~= '1' then return false end
  local seen = redis.call('HGET', 'fpbus:windows:deliveries', m.delivery)
  return seen and string.sub(seen, 1, #m.digest) == m.digest and string.sub(seen, #m.digest + 1)
end

local function remember(m, run)
  if m.number ~= '' then
    redis.call('SET', number_key(m), run, 'PX', m.keep)
  elseif m.delivery ~= '' and redis.call('HSET', 'fpbus:windows:deliveries', m.delivery, m.digest .. run) == 1 then
    if redis.call('RPUSH', 'fpbus:windows:deliveries:order', m.delivery) > remembered then
      redis.call('HDEL', 'fpbus:windows:deliveries', redis.call('LPOP', 'fpbus:windows:deliveries:order'))
    end
  end
end

local answers = {0}
for i = 5, #ARGV, 15 do
  local m = {}
  m.place, m.of, m.prefix, m.kind, m.job, m.inputs, m.delivery, m.digest = unpack(ARGV, i, i + 7)
  m.again, m.number, m.keep, m.size, m.span, m.most, m.as = unpack(ARGV, i + 8, i + 14)
  m.size, m.span, m.most = tonumber(m.size), tonumber(m.span), tonumber(m.most)
  local what, run = 'repeated', before(m)
  if run then
    count(m.of, 'repeated', 1)
  else
    make_way(m)
    what, run = become[m.kind](m)
    count(m.of, 'taken', 1)
    remember(m, run)
  end
  answers[#answers + 1] = {what, run}
end
write_counts()
answers[1] = next_in(now)
return answers
