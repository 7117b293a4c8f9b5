-- Stores an agent's session if it has the expected version.
-- KEYS 1 session
-- ARGV 1 expected version, 0 for a new session   2 the session, sealed   3 lifetime (ms)
-- Replies 1, or 0 without a change if it has another version
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'sealed', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
