#!lua flags=allow-oom
-- Replaces the document of an order, if it is the one that was read.
-- KEYS 1 order   ARGV 1 the document that was read   2 the new one
-- Replies 1, or 0 without a change
if redis.call('HGET', KEYS[1], 'doc') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'doc', ARGV[2])
return 1
