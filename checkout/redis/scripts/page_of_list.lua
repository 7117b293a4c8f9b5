#!lua flags=no-writes
-- The members of a sorted set behind the last of a page, with their scores; from its score if it has left the set, or moved in it.
-- KEYS 1 sorted set   ARGV 1 last member   2 its score   3 how many
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) == tonumber(ARGV[2]) then
    local rank = redis.call('ZRANK', KEYS[1], ARGV[1])
    return redis.call('ZRANGE', KEYS[1], rank + 1, rank + ARGV[3], 'WITHSCORES')
end
return redis.call('ZRANGE', KEYS[1], ARGV[2], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
