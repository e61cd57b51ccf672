#!lua flags=allow-oom
-- parked_replay: an operator wants a parked key tried again, from its oldest event, maybe with a mended record.
-- KEYS[1] own hash   KEYS[2] parked hash   KEYS[3] list of the key's events   KEYS[4] replaying hash
-- ARGV[1] key  ARGV[2] token of the oldest event as the operator saw it, or '' for any  ARGV[3] who asks, JSON
-- ARGV[4] the oldest event mended, as an element under its next revision, or ''
-- Returns {'OK', events parked} | {'CLEAR'} the key is not parked | {'CHANGED'} another event is the oldest by now
-- Atomic: a mended record belongs to one event; by its new revision a replay under way can't take it for the old one.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return {'CLEAR'} end
local head = redis.call('LINDEX', KEYS[3], 0)
if ARGV[2] ~= '' and string.sub(head or '', 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then return {'CHANGED'} end
if ARGV[4] ~= '' then
  redis.call('LSET', KEYS[3], 0, ARGV[4])
  redis.call('HINCRBY', KEYS[1], 'parked_bytes', #ARGV[4] - #head)
end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
return {'OK', redis.call('LLEN', KEYS[3])}
