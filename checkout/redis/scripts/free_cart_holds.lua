-- Makes the units of expired holds of carts available again.
-- KEYS 1 product   2 holds of the SKU   3 changes of these holds   4 carts with holds: a sorted set by the end of the hold (ms)
-- ARGV 1 most holds
-- Replies the number of carts whose time was over
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local names = redis.call('ZRANGE', KEYS[4], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, name in ipairs(names) do
    -- An order may have taken the hold over.
    local quantity = string.match(redis.call('HGET', KEYS[2], name) or '', '^%d+')
    if quantity then
        redis.call('HDEL', KEYS[2], name)
        redis.call('HINCRBY', KEYS[1], 'stock', quantity)
        note(KEYS[3], name, '')
        redis.call('SPUBLISH', KEYS[1], '')
    end
    redis.call('ZREM', KEYS[4], name)
end
return #names
