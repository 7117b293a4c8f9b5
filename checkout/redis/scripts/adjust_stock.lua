#!lua flags=allow-oom
-- Corrects the units of a SKU for sale, once for each key, and publishes it on a channel named like the product.
-- KEYS 1 product   2 corrections and reports of goods that came back: a sorted set by the time (ms)
-- ARGV 1 'set' or 'add'   2 units   3 most units for sale   4 how long a key is remembered (ms)   5 key
-- Replies {1, before, after}, {0, now, now} if it was made before, {-1, now} if it would be out of range, {-2} without the product
local available = redis.call('HGET', KEYS[1], 'stock')
if not available then
    return {-2}
end
available = tonumber(available)
local correction = 'correction ' .. ARGV[5]
if redis.call('ZSCORE', KEYS[2], correction) then
    return {0, available, available}
end
local change = tonumber(ARGV[2])
if ARGV[1] == 'set' then
    change = change - available
end
if available + change < 0 or available + change > tonumber(ARGV[3]) then
    return {-1, available}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Two at most: the set grows by one.
for _, forgotten in ipairs(redis.call('ZRANGE', KEYS[2], 0, 1)) do
    if tonumber(redis.call('ZSCORE', KEYS[2], forgotten)) <= now - ARGV[4] then
        redis.call('ZREM', KEYS[2], forgotten)
    end
end
redis.call('ZADD', KEYS[2], now, correction)
redis.call('SPUBLISH', KEYS[1], '')
return {1, available, redis.call('HINCRBY', KEYS[1], 'stock', string.format('%d', change))}
