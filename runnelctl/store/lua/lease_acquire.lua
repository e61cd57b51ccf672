#!lua flags=allow-oom
-- lease_acquire: take a partition for one owner, under a fresh epoch.
-- KEYS[1] own hash   KEYS[2] events stream   KEYS[3] parked hash
-- ARGV[1] nonce  ARGV[2] owner  ARGV[3] nonce of the holder that the caller knows to be dead, or ''
-- ARGV[4] where a new processor starts: earliest | latest   ARGV[5] consumer group (the processor's name)
-- ARGV[6] failure record that blocks a partition whose own hash is gone, or ''
-- Returns {'OK', epoch, cursor, count, tries, suspect, lost} | {'BUSY', owner} | {'BLOCKED', failure record}
--         | {'ASTRAY', cursor, count} no own hash, but a group that has been there: ask again with a record
-- Atomic: two takers, or a taker and a late commit, must not both win. The same nonce gets the same grant again, so a
-- lost reply may be retried. allow-oom: a full Redis must be able to drain.
local own, events = KEYS[1], KEYS[2]
local h = redis.call('HMGET', own, 'epoch', 'nonce', 'owner', 'cursor', 'count', 'block', 'tries', 'suspect', 'from',
  'seq', 'sure')
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
local function position()
  -- How far the group is, which every commit moves with the cursor; nil if there is none.
  for _, group in ipairs(length + added > 0 and redis.call('XINFO', 'GROUPS', events) or {}) do
    local g = {}
    for j = 1, #group, 2 do g[group[j]] = group[j + 1] end
    if g.name == ARGV[5] then
      local at, read = g['last-delivered-id'], g['entries-read']
      if not read then -- a stranger's XGROUP; counting is dear, and rare
        read = added - #redis.call('XRANGE', events, '(' .. at, '+')
      end
      return at, string.format('%.0f', read)
    end
  end
end
local function member(place) return string.match(place or '', '^(.*)/') or place end
local function restore(at, passed, fresh)
  -- The own hash again, as far as it can be known, blocked: whoever removed it may have removed more.
  redis.call('HSET', own, 'epoch', fresh, 'nonce', '', 'owner', '', 'cursor', at, 'count', passed, 'seq', '0', 'from', at,
    'tries', '0', 'suspect', '0', 'block', ARGV[6])
  local keys, total, bytes = redis.call('HKEYS', KEYS[3]), 0, 0
  for _, key in ipairs(keys) do
    for _, event in ipairs(redis.call('LRANGE', KEYS[3] .. ':' .. key, 0, -1)) do
      total, bytes = total + 1, bytes + #event
    end
  end
  if keys[1] then
    redis.call('HSET', own, 'parked_keys', #keys, 'parked_events', total, 'parked_bytes', bytes, 'parked_first', keys[1])
  end
end
if nonce ~= ARGV[1] or nonce == '' then
  if h[6] then return {'BLOCKED', h[6]} end
  if nonce ~= '' and nonce ~= ARGV[3] then return {'BUSY', owner} end
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  epoch = string.format('%.0f', math.max(tonumber(epoch) + 1, ms))
  if not cursor then
    local at, passed = position()
    if at and (ARGV[6] or '') == '' then return {'ASTRAY', at, passed} end
    if at then
      restore(at, passed, epoch)
      return {'BLOCKED', ARGV[6]}
    end
    if ARGV[4] == 'latest' then cursor, count = last, added else cursor, count = '0-0', added - length end
    count = string.format('%.0f', count)
  end
  -- Behind the last id there is nothing; and XRANGE refuses to look behind the highest id that there can be.
  if nonce ~= '' and member(owner) ~= member(ARGV[2]) and from == cursor and suspect <= tonumber(count) + 1 and cursor ~= last
    and #redis.call('XRANGE', events, '(' .. cursor, '+', 'COUNT', 1) > 0 then
    -- The holder never let go and committed nothing: the event after the cursor is under suspicion. One that is yet to
    -- come is not: hosts that are lost while a partition is idle must not convict it. Nor if the holder was of the same
    -- host: that knows from its board who died of what, and never heard that it had the partition.
    -- A suspect is announced by a commit of nothing before it is tried, alone in its slice. A host that is lost after
    -- that may have been taken down from another slice: it is a charge, the second one leaves no doubt ('2', then '1').
    -- Whoever was lost before it could try says nothing against the event.
    if suspect ~= tonumber(count) + 1 then
      tries, suspect = 1, tonumber(count) + 1
      redis.call('HSET', own, 'sure', '0')
    elseif h[10] ~= '0' then
      tries = tries + 1
      redis.call('HSET', own, 'sure', (h[11] or '0') ~= '0' and '1' or '2')
    end
  end
  redis.call('HSET', own, 'epoch', epoch, 'nonce', ARGV[1], 'owner', ARGV[2], 'cursor', cursor, 'count', count,
    'seq', '0', 'from', cursor, 'tries', tries, 'suspect', string.format('%.0f', suspect))
  redis.pcall('XGROUP', 'CREATE', events, ARGV[5], cursor, 'MKSTREAM', 'ENTRIESREAD', count)
end
local lost = math.max(0, added - length - tonumber(count))
return {'OK', epoch, cursor, count, tostring(tries), string.format('%.0f', suspect), string.format('%.0f', lost)}
