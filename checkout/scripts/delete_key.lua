-- Forgets an idempotency key that no accepted order has used.
-- KEYS 1 key   ARGV 1 fingerprint of the body it came with   2 the longest life left (ms) at which it may be forgotten
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then
    return redis.call('DEL', KEYS[1])
end
return 0
