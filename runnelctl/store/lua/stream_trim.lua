#!lua flags=allow-oom
-- stream_trim: retention of one partition, never beyond any processor's cursor.
-- KEYS[1] events stream   KEYS[2..] own hashes of all processors that are known
-- ARGV[1] entries to keep, or ''  ARGV[2] age in ms beyond which entries go, or ''  ARGV[3] the most to remove at once
-- ARGV[4..] for each own hash '1' if its processor begins at the first entry, should it never have run here
-- Returns {entries removed, '1' if more could go at once}
-- Atomic: a cursor that was read before the trim may be put back by a seek meanwhile. allow-oom: it makes room.
local events = KEYS[1]
if redis.call('EXISTS', events) == 0 then return {0, '0'} end
local function less(a, b) -- decimal texts: Lua's numbers are too coarse for 64 bits
  if #a ~= #b then return #a < #b end
  return a < b
end
local function before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)%-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)%-(%d+)$')
  if a_ms ~= b_ms then return less(a_ms, b_ms) end
  return less(a_seq, b_seq)
end
local least = nil
local function bound(id)
  if not least or before(id, least) then least = id end
end
local marks = {} -- by own hash: what commit.lua had counted as gone; with what goes here, which it need not count again
for i = 2, #KEYS do
  local h = redis.call('HMGET', KEYS[i], 'cursor', 'deleted')
  if h[1] then bound(h[1]) elseif ARGV[i + 2] == '1' then return {0, '0'} end
  marks[KEYS[i]] = h[2] or nil
end
-- Groups as well: they name processors that this file does not know, and whoever else reads here.
for _, group in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  for j = 1, #group, 2 do
    if group[j] == 'last-delivered-id' then bound(group[j + 1]) end
  end
end
if not least then return {0, '0'} end
local removed, most = 0, tonumber(ARGV[3])
local function mark()
  local info, added, length, deleted = redis.call('XINFO', 'STREAM', events), 0, 0, '0-0'
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1]
    elseif info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'max-deleted-entry-id' then deleted = info[i + 1] end
  end
  return deleted .. ' ' .. string.format('%.0f', added - length)
end
local marked = next(marks) and mark()
local function over(more)
  if marked and removed > 0 then
    for own, was in pairs(marks) do
      if was == marked then redis.call('HSET', own, 'deleted', mark()) end
    end
  end
  return {removed, more}
end
local function trim(id, limit)
  -- Whole nodes first, which costs little; then, in what is left of a node, exactly.
  local gone = redis.call('XTRIM', events, 'MINID', '~', id, 'LIMIT', string.format('%.0f', limit))
  removed = removed + gone
  return gone
end
if ARGV[2] ~= '' then
  local now = redis.call('TIME')
  local old = string.format('%.0f', math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[2]))) .. '-0'
  if before(least, old) then old = least end
  local gone = trim(old, most)
  local first = redis.call('XRANGE', events, '-', '(' .. old, 'COUNT', 1001)
  if #first > 1000 and gone > 0 then return over('1') end
  if #first > 0 then removed = removed + redis.call('XTRIM', events, 'MINID', '=', old) end
end
if ARGV[1] ~= '' then
  local excess = redis.call('XLEN', events) - tonumber(ARGV[1])
  if excess > 0 then excess = excess - trim(least, math.min(excess, most)) end
  if excess > 0 then
    local first = redis.call('XRANGE', events, '-', '+', 'COUNT', math.min(excess, 1000) + 1)
    local last = first[#first][1] -- the first that stays
    if before(least, last) then last = least end
    removed = removed + redis.call('XTRIM', events, 'MINID', '=', last)
    if excess > 1000 and last ~= least then return over('1') end
  end
end
return over('0')
