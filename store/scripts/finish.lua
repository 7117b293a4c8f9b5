#!lua flags=allow-oom
-- Runs one command that finishes work which was accepted, also while the memory of the store is full.
-- KEYS 1 key of the command   ARGV 1 name of the command   2... its arguments after the key   Replies as the command
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
