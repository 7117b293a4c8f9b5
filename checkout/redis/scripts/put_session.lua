-- Stores an agent's session if it has the expected version, and enters it under its e-mail addresses.
-- KEYS 1 session   2... the sessions of its partition with each of its addresses
-- ARGV 1 expected version, 0 for a new session   2 the session, sealed   3 lifetime (ms)   4 its id   5 hashes of the addresses
-- Replies 1, or 0 without a change if it has another version
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #KEYS do
    local expired = redis.call('ZRANGE', KEYS[i], '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
    if #expired > 0 then
        redis.call('ZREM', KEYS[i], unpack(expired))
    end
    redis.call('ZADD', KEYS[i], now + ARGV[3], ARGV[4])
    redis.call('PEXPIRE', KEYS[i], ARGV[3])
end
redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'sealed', ARGV[2], 'emails', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
