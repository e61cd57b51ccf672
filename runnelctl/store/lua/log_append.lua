#!lua flags=allow-oom
-- log_append: write a line into a bounded log: the control stream, the audit.
-- KEYS[1] the log   ARGV[1] how many lines to keep, roughly   ARGV[2..] fields
-- Returns the line's id.
-- Atomic: one command; a script for its flag, since a replay is what lets a full Redis drain.
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 2))
