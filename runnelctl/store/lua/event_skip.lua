#!lua flags=allow-oom
-- event_skip: an operator passes over the failed event of a blocked partition; the event goes to the dead letters.
-- KEYS[1] own hash   KEYS[2] events stream   KEYS[3] dead letter stream
-- ARGV[1] id of the failed event  ARGV[2] consumer group  ARGV[3..] fields of the dead letter
-- Returns {'OK'} | {'CLEAR'} | {'CHANGED', failure record} | {'OWNED', owner} | {'GONE'} the event is not there any more
-- Atomic: dead letter, cursor and release belong together, or the event could be lost or doubled.
local h = redis.call('HMGET', KEYS[1], 'block', 'nonce', 'owner', 'cursor', 'count')
if not h[1] then return {'CLEAR'} end
if (h[2] or '') ~= '' then return {'OWNED', h[3]} end
if not string.find(h[1], '"event":"' .. ARGV[1] .. '"', 1, true) then return {'CHANGED', h[1]} end
-- XRANGE refuses to look behind the highest id that there can be.
local highest = h[4] == '18446744073709551615-18446744073709551615'
local next = highest and {} or redis.call('XRANGE', KEYS[2], '(' .. h[4], '+', 'COUNT', 1)
if #next == 0 or next[1][1] ~= ARGV[1] then return {'GONE'} end
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'stream' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[3] .. ' is not a stream') end
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 3))
local total = string.format('%.0f', tonumber(h[5]) + 1)
redis.call('HSET', KEYS[1], 'cursor', ARGV[1], 'count', total, 'tries', '0', 'suspect', '0', 'sure', '0', 'death', '')
redis.call('HDEL', KEYS[1], 'block', 'edit', 'edit_id')
redis.pcall('XGROUP', 'SETID', KEYS[2], ARGV[2], ARGV[1], 'ENTRIESREAD', total)
return {'OK'}
