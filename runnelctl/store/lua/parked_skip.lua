#!lua flags=allow-oom
-- parked_skip: an operator moves the oldest parked event of a key to the dead letters; the rest is to be replayed.
-- KEYS[1] own hash   KEYS[2] parked hash   KEYS[3] list of the key's events   KEYS[4] replaying hash
-- KEYS[5] dead letter stream
-- ARGV[1] key  ARGV[2] token of the oldest event as the operator saw it  ARGV[3] who asks, JSON
-- ARGV[4..] fields of the dead letter
-- Returns {'OK', events still parked} | {'CLEAR'} the key is not parked | {'CHANGED'} another event is the oldest by now
-- Atomic: the event could be lost or doubled, and a key must not open before its last event is gone.
local own, key = KEYS[1], ARGV[1]
if redis.call('HEXISTS', KEYS[2], key) == 0 then return {'CLEAR'} end
local head = redis.call('LINDEX', KEYS[3], 0)
if string.sub(head or '', 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then return {'CHANGED'} end
local kind = redis.call('TYPE', KEYS[5]).ok
if kind ~= 'stream' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[5] .. ' is not a stream') end
redis.call('XADD', KEYS[5], '*', unpack(ARGV, 4))
redis.call('LPOP', KEYS[3])
redis.call('HINCRBY', own, 'parked_events', -1)
redis.call('HINCRBY', own, 'parked_bytes', -#head)
redis.call('HDEL', own, 'replay_tries', 'replay_sure', 'replay_death')
local left = redis.call('LLEN', KEYS[3])
if left > 0 then
  redis.call('HSET', KEYS[4], key, ARGV[3])
else
  redis.call('HDEL', KEYS[2], key)
  redis.call('HDEL', KEYS[4], key)
  redis.call('HSET', own, 'parked_keys', redis.call('HLEN', KEYS[2]))
  if redis.call('HGET', own, 'parked_first') == key then
    local rest = redis.call('HKEYS', KEYS[2])
    if rest[1] then redis.call('HSET', own, 'parked_first', rest[1]) else redis.call('HDEL', own, 'parked_first') end
  end
end
return {'OK', left}
