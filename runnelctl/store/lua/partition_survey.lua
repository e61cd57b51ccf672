#!lua flags=no-writes
-- partition_survey: how far every processor of one partition is, for `status`.
-- KEYS[1] events stream   KEYS[2..] own hash and parked hash of each processor
-- Returns {entries ever added, length, last id, {epoch, owner, cursor, count, failure record, first unread id,
--          keys parked, events parked, failure record of the key that was parked first}, ...}
-- Atomic: a cursor read after the stream's length would overtake it, and lag would be less than nothing. And XINFO and
-- XRANGE answer with whole entries: here they stay on the server.
local added, length, last = 0, 0, '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1]
    elseif info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
local reply = {added, length, last}
for i = 2, #KEYS, 2 do
  local own = redis.call('HMGET', KEYS[i], 'epoch', 'owner', 'cursor', 'count', 'block', 'parked_first', 'parked_keys',
    'parked_events')
  local first = own[6]
  own[6], own[9] = false, false
  if first then own[9] = redis.call('HGET', KEYS[i + 1], first) end
  if length > 0 and tonumber(own[4] or '0') < added and own[3] ~= last then
    local unread = redis.call('XRANGE', KEYS[1], '(' .. (own[3] or '0-0'), '+', 'COUNT', 1)
    if unread[1] then own[6] = unread[1][1] end
  end
  reply[#reply + 1] = own
end
return reply
