#!lua flags=allow-oom
-- removal_note: write down that everything removed from a partition so far had been passed by this processor.
-- KEYS[1] own hash   KEYS[2] events stream
-- ARGV[1] nonce  ARGV[2] cursor behind which entries were counted  ARGV[3] entries removed from the stream, ever
-- Returns 1 if noted, 0 if anything is different by now: then it has to be counted again.
-- Atomic: what was counted must still be so. allow-oom: a commit waits for it.
local h = redis.call('HMGET', KEYS[1], 'nonce', 'cursor')
if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return 0 end
local length, added = 0, 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1] elseif info[i] == 'entries-added' then added = info[i + 1] end
  end
end
if added - length ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'gone', ARGV[3])
return 1
