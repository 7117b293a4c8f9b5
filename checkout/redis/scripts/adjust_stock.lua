#!lua flags=allow-oom
-- Corrects the units of a SKU for sale, once for each key, and publishes it on a channel named like the product.
-- KEYS 1 product   2 corrections and reports of goods that came back: a sorted set by the time (ms)   3 holds of the SKU
-- ARGV 1 'set' or 'add'   2 units   3 most units for sale   4 how long a key is remembered (ms)   5 key
-- Replies {1, before, after}, {0, now, now} if it was made before, {-1, now} if it would be out of range, {-2} without the product

-- The books of a product: for sale = imported + adjusted - sold - held. A count makes them agree, and takes in a product of earlier
-- versions, which has none. With very many holds, only the difference to the units `before` is written.
local function balance(before)
    local stock, imported, sold = unpack(redis.call('HMGET', KEYS[1], 'stock', 'imported', 'sold'))
    if redis.call('HLEN', KEYS[3]) > 1000 then
        return imported and redis.call('HINCRBY', KEYS[1], 'adjusted', string.format('%d', stock - before))
    end
    local all = tonumber(stock)
    for at, field in ipairs(redis.call('HGETALL', KEYS[3])) do
        all = all + (at % 2 == 0 and string.match(field, '^%d+') or 0)
    end
    if imported then
        redis.call('HSET', KEYS[1], 'adjusted', string.format('%d', all + (sold or 0) - imported))
    else
        redis.call('HSET', KEYS[1], 'imported', string.format('%d', all))
    end
end

local available, imported = unpack(redis.call('HMGET', KEYS[1], 'stock', 'imported'))
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
local after = redis.call('HINCRBY', KEYS[1], 'stock', string.format('%d', change))
if imported and ARGV[1] == 'add' then
    redis.call('HINCRBY', KEYS[1], 'adjusted', string.format('%d', change))
else
    balance(available)
end
return {1, available, after}
