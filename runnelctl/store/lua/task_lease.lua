#!lua flags=allow-oom
-- task_lease: take the leadership of a task under a fresh epoch.
-- KEYS[1] task hash   ARGV[1] nonce  [2] owner  [3] the nonce of a holder known to be dead, or ''
-- Returns {'OK', epoch, last tick in ms, who led before or ''} | {'BUSY', owner}
-- A task that nobody ever led begins now: its last tick is the server's time.
-- Atomic: of two takers one must win; the same nonce gets the same grant, so a lost answer can be asked for again.
local h = redis.call('HMGET', KEYS[1], 'nonce', 'owner', 'epoch', 'last', 'was')
if h[1] == ARGV[1] then return {'OK', h[3], h[4], h[5] or ''} end
if h[1] and h[1] ~= '' and h[1] ~= ARGV[3] then return {'BUSY', h[2]} end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local epoch = string.format('%.0f', math.max(tonumber(h[3] or '0') + 1, ms))
local last = h[4] or string.format('%.0f', ms)
local was = (h[2] and h[2] ~= '') and h[2] or h[5] or ''
redis.call('HSET', KEYS[1], 'nonce', ARGV[1], 'owner', ARGV[2], 'epoch', epoch, 'last', last, 'was', was)
return {'OK', epoch, last, was}
