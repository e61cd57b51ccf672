#!lua flags=allow-oom
-- lease_acquire: take a partition for one owner, under a fresh epoch.
-- KEYS[1] own hash   KEYS[2] events stream
-- ARGV[1] nonce  ARGV[2] owner  ARGV[3] nonce of the holder that the caller knows to be dead, or ''
-- ARGV[4] where a new processor starts: earliest | latest   ARGV[5] consumer group (the processor's name)
-- Returns {'OK', epoch, cursor, count, tries, suspect, lost} | {'BUSY', owner} | {'BLOCKED', failure record}
-- Atomic: two takers, or a taker and a late commit, must not both win. The same nonce gets the same grant again, so a
-- lost reply may be retried. allow-oom: a full Redis must be able to drain.
local own, events = KEYS[1], KEYS[2]
local h = redis.call('HMGET', own, 'epoch', 'nonce', 'owner', 'cursor', 'count', 'block', 'tries', 'suspect', 'from',
  'seq')
local epoch, nonce, owner, cursor, count = h[1] or '0', h[2] or '', h[3], h[4], h[5]
local tries, suspect, from = tonumber(h[7] or '0'), tonumber(h[8] or '0'), h[9]
local length, added, last = 0, 0, '0-0'
if redis.call('EXISTS', events) == 1 then
  local info = redis.call('XINFO', 'STREAM', events)
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1]
    elseif info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
if nonce ~= ARGV[1] or nonce == '' then
  if h[6] then return {'BLOCKED', h[6]} end
  if nonce ~= '' and nonce ~= ARGV[3] then return {'BUSY', owner} end
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  epoch = string.format('%.0f', math.max(tonumber(epoch) + 1, ms))
  if not cursor then
    if ARGV[4] == 'latest' then cursor, count = last, added else cursor, count = '0-0', added - length end
    count = string.format('%.0f', count)
  end
  -- Behind the last id there is nothing; and XRANGE refuses to look behind the highest id that there can be.
  if nonce ~= '' and from == cursor and suspect <= tonumber(count) + 1 and cursor ~= last
    and #redis.call('XRANGE', events, '(' .. cursor, '+', 'COUNT', 1) > 0 then
    -- The holder never let go and committed nothing: the event after the cursor is under suspicion. One that is yet to
    -- come is not: hosts that are lost while a partition is idle must not convict it.
    -- A suspect is announced by a commit of nothing before it is tried, alone: whoever was lost after that leaves no
    -- doubt, and whoever was lost before it could try says nothing against the event.
    if suspect ~= tonumber(count) + 1 then
      tries, suspect = 1, tonumber(count) + 1
      redis.call('HSET', own, 'sure', '0')
    elseif h[10] ~= '0' then
      tries = tries + 1
      redis.call('HSET', own, 'sure', '1')
    end
  end
  redis.call('HSET', own, 'epoch', epoch, 'nonce', ARGV[1], 'owner', ARGV[2], 'cursor', cursor, 'count', count,
    'seq', '0', 'from', cursor, 'tries', tries, 'suspect', string.format('%.0f', suspect))
  redis.pcall('XGROUP', 'CREATE', events, ARGV[5], cursor, 'MKSTREAM', 'ENTRIESREAD', count)
end
local lost = math.max(0, added - length - tonumber(count))
return {'OK', epoch, cursor, count, tostring(tries), string.format('%.0f', suspect), string.format('%.0f', lost)}
