#!lua flags=allow-oom
-- Ends the claim of an event outbox, if this holder has it.
-- KEYS 1 claim   ARGV 1 holder   Replies 1 or 0
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
