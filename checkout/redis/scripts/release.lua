#!lua flags=allow-oom
-- Releases the claim of a cart, and the idempotency key with it.
-- KEYS 1 claim   2 open claims
-- ARGV 1 token of the claim   2 cart id   3 '1' if nothing is held for this version of the cart, else '0'
-- Replies 1 if the claim was valid, so that it can no longer commit, else 0
local token, version = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+)')
if token ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[1])
if ARGV[3] == '1' then
    redis.call('HDEL', KEYS[2], ARGV[2] .. ' ' .. version)
end
return 1
