#!lua flags=allow-oom
-- task_claim: settle that a leader runs a tick of a task, before it does.
-- KEYS[1] task hash   ARGV[1] epoch  [2] nonce  [3] the tick in ms, or '' for a run at no tick  [4] a name for this claim
-- Returns {'OK'} | {'FENCED', owner} | {'PAST', last tick}
-- Atomic: this is the fence. No tick is ever claimed twice, and nobody claims who does not lead. Asked for again with
-- the same name, since the answer was lost, it is the same claim.
local h = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'owner', 'last', 'claim')
if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return {'FENCED', h[3] or ''} end
if h[5] == ARGV[4] then return {'OK'} end
if ARGV[3] ~= '' then
  if tonumber(ARGV[3]) <= tonumber(h[4] or '0') then return {'PAST', h[4]} end
  redis.call('HSET', KEYS[1], 'last', ARGV[3])
end
redis.call('HSET', KEYS[1], 'claim', ARGV[4])
return {'OK'}
