-- Extend the session of an admitted shopper. The pass is valid, so the session counts even where the store has lost it.
-- ARGV[5]: the place id.
redis.call('ZADD', active, now + session_ms, ARGV[5])
expires(active)
return 1
