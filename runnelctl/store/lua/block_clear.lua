#!lua flags=allow-oom
-- block_clear: let a quarantined or halted partition run again from where it stopped.
-- KEYS[1] own hash   KEYS[2] events stream
-- ARGV[1] id of the failed event that the operator saw, or '' for any
-- ARGV[2] a mended record for that event, or ''   ARGV[3] '1' to accept that unread events were trimmed away
-- Returns {'OK'} | {'CLEAR'} nothing blocks | {'CHANGED', failure record} | {'OWNED', owner}
-- Atomic: the operator's decision is about one failure; it must not release another one.
local h = redis.call('HMGET', KEYS[1], 'block', 'nonce', 'owner', 'cursor')
if not h[1] then return {'CLEAR'} end
if (h[2] or '') ~= '' then return {'OWNED', h[3]} end
if ARGV[1] ~= '' and not string.find(h[1], '"event":"' .. ARGV[1] .. '"', 1, true) then return {'CHANGED', h[1]} end
redis.call('HDEL', KEYS[1], 'block')
redis.call('HSET', KEYS[1], 'tries', '0', 'suspect', '0', 'sure', '0', 'death', '')
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'edit_id', ARGV[1], 'edit', ARGV[2]) end
if ARGV[3] == '1' then
  local info, added, length, deleted = redis.pcall('XINFO', 'STREAM', KEYS[2]), 0, 0, '0-0' -- no stream: an error, no items
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'length' then length = info[i + 1]
    elseif info[i] == 'max-deleted-entry-id' then deleted = info[i + 1] end
  end
  -- Everything after the cursor that is not there any more counts as passed, whether it was trimmed or deleted.
  local left, from = 0, h[4] or '0-0'
  local highest = '18446744073709551615-18446744073709551615' -- XRANGE refuses to look behind it
  repeat
    local page = from ~= highest and redis.call('XRANGE', KEYS[2], '(' .. from, '+', 'COUNT', 1000) or {}
    left = left + #page
    if #page > 0 then from = page[#page][1] end
  until #page < 1000
  redis.call('HSET', KEYS[1], 'count', string.format('%.0f', added - left),
    'deleted', deleted .. ' ' .. string.format('%.0f', added - length)) -- counted, as commit.lua has it
end
return {'OK'}
