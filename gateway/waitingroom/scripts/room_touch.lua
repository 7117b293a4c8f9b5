-- An admitted shopper is still there. His pass is valid, so he counts, whatever has become of the store meanwhile.
-- ARGV[5]: his place id.
redis.call('ZADD', active, now + session_ms, ARGV[5])
return 1
