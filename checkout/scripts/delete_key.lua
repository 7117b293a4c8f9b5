-- Deletes an idempotency key that no accepted order uses.
-- KEYS 1 key   ARGV 1 fingerprint   2 longest remaining lifetime (ms) at which it is deleted
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then
    return redis.call('DEL', KEYS[1])
end
return 0
