-- Forgets a claim whose holds are given back, unless the cart was claimed again at the same version.
-- KEYS 1 claims that have not told their end   ARGV 1 name of the claim   2 what was noted of it
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
    return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
