#!lua
-- Append a chunk of entries to one partition, once, however often it is asked to.
--
-- KEYS  1 the partition's stream   2 what this producer appended last ("first_seq last_seq first_id")
-- ARGV  1 sequence number of the first entry   2 capacity, in unread entries   3 how long to remember, ms
--       4 number of entries   then for each entry: its data, its key ("" for none), the number of words that its
--       headers take, and these. Field names are added here: sending them costs both sides a third of the time.
--       A number with an f before it, as in f6: a flat record. There is no data, its fields are among the words.
-- Returns {'OK', id, n, id', n'}: n entries were there before, with ids counting up from id; n' are new, from id'
--         {'CAPACITY', unread}     the partition has no room; nothing is written
--         {'GAP', last_seq}        entries between last_seq and this chunk are missing; nothing is written
--         {'STALE', last_seq}      a chunk from before the last one; nothing is written
--         {'WRONGTYPE', type}      the stream's key holds something else; nothing is written
--         {'POISONED', id}         the stream's ids are used up; nothing is written
--
-- Atomic because the question "is it there already?" and the append must not be parted: a sender whose reply was lost
-- asks again, perhaps over another connection while the first request is still on its way.
-- No flags on purpose: a Redis that is full refuses this script with OOM before it runs.
-- A script has no rollback, so everything that can be wrong is looked at before the first XADD.

local events, producer = KEYS[1], KEYS[2]
local first, capacity, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local MAX_WORDS, MAX_SEQ_DIGITS = 1000, 15

local function text(number)
  return string.format('%.0f', number)
end

-- The entries of a chunk have consecutive ids, so the id of any follows from the first.
local function id_after(id, steps)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return ms .. '-' .. text(tonumber(seq) + steps)
end

-- Append the entry whose words begin at `from`; returns its id, or the error as a table, and where the next one begins.
local function append(id, from)
  local data, key, words = ARGV[from], ARGV[from + 1], tonumber(ARGV[from + 2])
  if not words then
    local last = from + 2 + tonumber(string.sub(ARGV[from + 2], 2))
    if last == from + 2 then return redis.pcall('XADD', events, id, 'key', key), last + 1 end
    if key == '' then return redis.pcall('XADD', events, id, unpack(ARGV, from + 3, last)), last + 1 end
    return redis.pcall('XADD', events, id, 'key', key, unpack(ARGV, from + 3, last)), last + 1
  end
  if words == 0 then
    if key == '' then return redis.pcall('XADD', events, id, 'data', data), from + 3 end
    return redis.pcall('XADD', events, id, 'data', data, 'key', key), from + 3
  end
  local last = from + 2 + words
  if key == '' then return redis.pcall('XADD', events, id, 'data', data, unpack(ARGV, from + 3, last)), last + 1 end
  return redis.pcall('XADD', events, id, 'data', data, 'key', key, unpack(ARGV, from + 3, last)), last + 1
end

local function field(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then return flat[i + 1] end
  end
end

local function unread(length)
  local least = nil
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local read = field(group, 'entries-read')
    if not read then return length end
    if not least or read < least then least = read end
  end
  if not least then return length end
  return math.min(length, field(redis.call('XINFO', 'STREAM', events), 'entries-added') - least)
end

-- How many words an entry has behind the three that all have; nil if that is no number.
local function more(words)
  return words and tonumber((string.gsub(words, '^f', '', 1)))
end

local kind = redis.call('TYPE', events)['ok']
if kind ~= 'stream' and kind ~= 'none' then return {'WRONGTYPE', kind} end

local at = 5
for _ = 1, count do
  local words = ARGV[at + 2]
  if words ~= '0' then
    local number = more(words)
    if not number or number < 0 or number % 2 == 1 or number > MAX_WORDS then
      return redis.error_reply('ERR produce: an entry has headers of ' .. tostring(words) .. ' words')
    end
    at = at + number
  end
  at = at + 3
end
if at ~= #ARGV + 1 then return redis.error_reply('ERR produce: the entries do not fill the arguments') end

local skip, known = 0, ''
local last = redis.call('GET', producer)
if last then
  local from, to, id = string.match(last, '^(%d+) (%d+) (%S+)$')
  from, to = tonumber(from), tonumber(to)
  if first > to + 1 then return {'GAP', text(to)} end
  if first <= to then
    if first < from then return {'STALE', text(to)} end
    skip, known = math.min(count, to - first + 1), id_after(id, first - from)
  end
end
local new = count - skip
if new == 0 then
  redis.call('PEXPIRE', producer, ARGV[3]) -- a write, so that a WAIT after it speaks of this chunk (store/durability.py)
  return {'OK', known, skip, '', 0}
end

local length = redis.call('XLEN', events)
if length + new > capacity then
  local waiting = unread(length)
  if waiting + new > capacity then return {'CAPACITY', text(waiting)} end
end

at = 5
for _ = 1, skip do at = at + 3 + more(ARGV[at + 2]) end
local id
id, at = append('*', at)
if type(id) == 'table' then
  if string.find(id.err, 'exhausted', 1, true) or string.find(id.err, 'equal or smaller', 1, true) then
    return {'POISONED', '18446744073709551615-18446744073709551615'}
  end
  return id
end
local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
if #seq > MAX_SEQ_DIGITS then
  -- Somebody chose an id with an absurd sequence number: Lua can't count on from there, and there may be no room.
  redis.call('XDEL', events, id)
  return {'POISONED', id}
end
-- `ms-*` instead of `*`: the clock may tick during a script on Redis 7.0, and these ids must be consecutive.
local next_id = ms .. '-*'
local added
for _ = 2, new do
  added, at = append(next_id, at)
  if type(added) == 'table' then return added end
end
redis.call('SET', producer, text(first + skip) .. ' ' .. text(first + count - 1) .. ' ' .. id, 'PX', ARGV[3])
return {'OK', known, skip, id, new}
