-- Gives a claimed cart back unused.
-- KEYS 1 claim   2 claims that have not told their end
-- ARGV 1 token of the claim   2 cart id   3 '1' if nothing is held for this version of the cart, else '0'
-- Replies 1 if the claim was in force: it can never commit then. Else 0
local token, version = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+)$')
if token ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[1])
if ARGV[3] == '1' then
    redis.call('HDEL', KEYS[2], ARGV[2] .. ' ' .. version)
end
return 1
