#!lua flags=allow-oom
-- task_release: let the leadership of a task go, so that another host may have it at once.
-- KEYS[1] task hash   ARGV[1] epoch  [2] nonce  [3] the last tick in ms that its leader settled, or '0'
-- Returns 1, or 0 if it was not ours any more.
-- Atomic: a successor may have taken it meanwhile; it must not lose it, nor its ticks.
local h = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'last', 'owner')
if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return 0 end
if tonumber(ARGV[3]) > tonumber(h[3] or '0') then redis.call('HSET', KEYS[1], 'last', ARGV[3]) end
redis.call('HSET', KEYS[1], 'nonce', '', 'owner', '', 'was', h[4])
return 1
