#!lua flags=allow-oom
-- letter_return: a dead letter goes back to the processor that failed it: parked under its key, to be replayed.
-- KEYS[1] own hash   KEYS[2] parked hash   KEYS[3] list of the key's events   KEYS[4] replaying hash
-- KEYS[5] set of the letters that this processor got back in this partition
-- ARGV[1] key  ARGV[2] the letter: stream, partition and id  ARGV[3] who asks, JSON  ARGV[4] the event as an element
-- ARGV[5] failure record for a key that is not parked yet  ARGV[6], [7] most events and bytes that may be parked
-- Returns {'OK', events parked under the key} | {'DONE'} returned before | {'FULL'}
-- Atomic: a letter must come back exactly once, however often it is asked for. The mark is kept here and
-- not beside the letter, so that all keys are in one slot.
local own, key = KEYS[1], ARGV[1]
if redis.call('SISMEMBER', KEYS[5], ARGV[2]) == 1 then return {'DONE'} end
local there = redis.call('HMGET', own, 'parked_events', 'parked_bytes')
local events, bytes = tonumber(there[1] or '0'), tonumber(there[2] or '0')
if events >= tonumber(ARGV[6]) or (events > 0 and bytes + #ARGV[4] > tonumber(ARGV[7])) then return {'FULL'} end
redis.call('RPUSH', KEYS[3], ARGV[4])
redis.call('HINCRBY', own, 'parked_events', 1)
redis.call('HINCRBY', own, 'parked_bytes', #ARGV[4])
if redis.call('HSETNX', KEYS[2], key, ARGV[5]) == 1 then
  redis.call('HSET', own, 'parked_keys', redis.call('HLEN', KEYS[2]))
  redis.call('HSETNX', own, 'parked_first', key)
end
redis.call('HSET', KEYS[4], key, ARGV[3])
redis.call('SADD', KEYS[5], ARGV[2])
return {'OK', redis.call('LLEN', KEYS[3])}
