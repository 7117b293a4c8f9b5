#!lua flags=allow-oom
-- Deletes an open claim whose holds are released, unless the cart was claimed again at the same version.
-- KEYS 1 open claims   ARGV 1 field of the claim   2 its value when it was read
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
    return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
