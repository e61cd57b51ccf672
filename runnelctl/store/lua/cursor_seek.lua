#!lua flags=allow-oom
-- cursor_seek: an operator puts a processor's cursor of one partition somewhere else.
-- KEYS[1] own hash   KEYS[2] events stream
-- ARGV[1] new cursor  ARGV[2] entries at or before it, ever (what is gone counts as before)  ARGV[3] consumer group
-- ARGV[4], ARGV[5] entries ever added and entries removed when ARGV[2] was counted
-- Returns {'OK', cursor before or '', count before or '', '' | 'KEPT' | 'LIFTED' of a block} | {'CHANGED'} count again
--         | {'PARKED', events} back is no way while events are parked: those before them would come after them
-- Atomic: a commit of the holder must come before or fail. The fresh epoch fences it; nonce and owner stay, so that
-- nobody else begins while its handler still runs, and it takes the lease anew when it notices.
-- allow-oom: skipping may be what lets a full Redis drain.
local own, events = KEYS[1], KEYS[2]
local added, length = 0, 0
if redis.call('EXISTS', events) == 1 then
  local info = redis.call('XINFO', 'STREAM', events)
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1] elseif info[i] == 'entries-added' then added = info[i + 1] end
  end
end
-- Entries that were added since lie behind the cursor and change nothing; any that were removed would.
if added < tonumber(ARGV[4]) or added - length ~= tonumber(ARGV[5]) then return {'CHANGED'} end
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return ms, seq
end
local function number_before(a, b) -- decimal texts: Lua's numbers are too coarse for 64 bits
  if #a ~= #b then return #a < #b end
  return a < b
end
local function before(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  if a_ms ~= b_ms then return number_before(a_ms, b_ms) end
  return number_before(a_seq, b_seq)
end
local h = redis.call('HMGET', own, 'epoch', 'cursor', 'count', 'block', 'parked_events')
if tonumber(h[5] or '0') > 0 and before(ARGV[1], h[2]) then return {'PARKED', h[5]} end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local epoch = string.format('%.0f', math.max(tonumber(h[1] or '0') + 1, ms))
redis.call('HSET', own, 'epoch', epoch, 'cursor', ARGV[1], 'count', ARGV[2], 'seq', '0', 'tries', '0', 'suspect', '0',
  'alone', '0', 'sure', '0', 'death', '')
redis.call('HDEL', own, 'above') -- of the old place
redis.call('HDEL', own, 'from') -- a holder that never let go convicts no event of the new place
local block = ''
if h[4] then
  local failed = string.match(h[4], '"event":"(%d+%-%d+)"')
  block = 'KEPT'
  if failed and not before(ARGV[1], failed) then
    redis.call('HDEL', own, 'block')
    block = 'LIFTED'
  end
end
redis.pcall('XGROUP', 'SETID', events, ARGV[3], ARGV[1], 'ENTRIESREAD', ARGV[2])
return {'OK', h[2] or '', h[3] or '', block}
