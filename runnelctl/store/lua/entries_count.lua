#!lua flags=no-writes
-- entries_count: how many entries there are in a range, a page at a time.
-- KEYS[1] events stream   ARGV[1] start, as XRANGE takes it  ARGV[2] end  ARGV[3] the most to look at
-- Returns {entries, id of the last one or ''}
-- Atomic: one command; a script so that payloads stay on the server.
local page = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#page, #page > 0 and page[#page][1] or ''}
