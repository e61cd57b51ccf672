#!lua flags=allow-oom
-- lease_release: let a partition go; on a death, charge an attempt to the event that was in flight.
-- KEYS[1] own hash
-- ARGV[1] epoch  ARGV[2] nonce  ARGV[3], ARGV[4] ordinals of the first and last event of the call to charge, or ''
--   (ordinal 0: a parked event that was being replayed, wherever it belongs)
-- ARGV[5] '1' if nothing else can have done it  ARGV[6] what is known of the death, or ''
-- Returns 1 if released, 0 if it was not ours (any more).
-- Atomic: a successor may have taken the partition since the caller looked. allow-oom: see lease_acquire.
local h = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'tries', 'suspect', 'count', 'sure')
if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'nonce', '', 'owner', '')
if ARGV[3] == '0' then
  redis.call('HINCRBY', KEYS[1], 'replay_tries', 1)
  redis.call('HSET', KEYS[1], 'replay_death', ARGV[6])
  if ARGV[5] == '1' then redis.call('HSET', KEYS[1], 'replay_sure', '1') end
elseif ARGV[3] ~= '' and tonumber(ARGV[3]) > tonumber(h[5]) then
  local tries, sure = 1, ARGV[5]
  if h[4] == ARGV[3] then
    tries = tonumber(h[3] or '0') + 1
    if h[6] == '1' then sure = '1' end
  end
  redis.call('HSET', KEYS[1], 'tries', tries, 'suspect', ARGV[3], 'alone', ARGV[4], 'sure', sure, 'death', ARGV[6])
end
return 1
