#!lua flags=no-writes
-- The ids of an owner's orders, the latest first.
-- KEYS 1 orders of the owner   ARGV 1 the order before the page, or ''   2 length of the page
-- Replies the ids, one more than the page has if there is another page; nil if there is no such order before it
local first = 0
if ARGV[1] ~= '' then
    local rank = redis.call('ZREVRANK', KEYS[1], ARGV[1])
    if not rank then
        return false
    end
    first = rank + 1
end
return redis.call('ZREVRANGE', KEYS[1], first, first + ARGV[2])
