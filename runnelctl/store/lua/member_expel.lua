#!lua flags=allow-oom
-- member_expel: remove a host that stopped beating, or that leaves by itself.
-- KEYS[1] members hash   KEYS[2] hosts hash   KEYS[3] control stream
-- ARGV[1] member  ARGV[2] the entry that the caller saw stand still, or '' for a host that leaves
-- Returns 1 if removed, 0 if it was gone or has beaten since.
-- Atomic: compare-and-set on the very entry seen, so that one late beat saves a slow host.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry or (ARGV[2] ~= '' and entry ~= ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', '1000', '*', 'what', 'left', 'member', ARGV[1])
return 1
