#!lua flags=allow-oom
-- member_beat: say that a host is alive, and learn who else is.
-- KEYS[1] members hash   KEYS[2] hosts hash
-- ARGV[1] member  ARGV[2] its beat counter and description  ARGV[3] its report for `status`  ARGV[4] '1' to join
-- ARGV[5] the server time in ms up to which it may join; without it, it may whenever this arrives
-- Returns {'OK' | 'EXPELLED', server time in ms, member, entry, member, entry, ...}
-- Atomic: a host that was expelled must not come back by a late beat: it has to join again, with nothing owned. Nor by
-- a late join, of which it knows nothing: its next beat would be taken for that of a member that was never expelled.
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local status = 'OK'
local joins = ARGV[4] == '1' and (not ARGV[5] or tonumber(ms) <= tonumber(ARGV[5]))
if joins or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ms .. '|' .. ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
else
  status = 'EXPELLED'
end
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, ms)
table.insert(reply, 1, status)
return reply
