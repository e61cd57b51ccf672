#!lua flags=allow-oom
-- halt_set: write down that a processor halted, for every host.
-- KEYS[1] halted hash   ARGV[1] processor  ARGV[2] failure record
-- Returns 1 if it was not written down before, else 0.
-- Atomic: one command; a script for its flag, since a halt must be heard of even when Redis is full.
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
