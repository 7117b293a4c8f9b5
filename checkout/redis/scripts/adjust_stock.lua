-- Corrects the units of a SKU for sale, once for each key, and publishes it on a channel named like the product.
-- KEYS 1 product   2 corrections and reports of goods that came back: a sorted set by the time (ms)   3 holds of the SKU
-- ARGV 1 'set' or 'add'   2 units   3 most units for sale   4 how long a key is remembered (ms)   5 key
-- Replies {1, before, after}, {0, now, now} if it was made before, {-1, now} if it would be out of range, {-2} without the product
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
-- Units that were sold ahead may become fewer step by step.
if (change < 0 and available + change < 0) or available + change > tonumber(ARGV[3]) then
    return {-1, available}
end
remember(KEYS[2], correction, ARGV[4])
redis.call('SPUBLISH', KEYS[1], '')
local after = redis.call('HINCRBY', KEYS[1], 'stock', string.format('%d', change))
if imported and ARGV[1] == 'add' then
    redis.call('HINCRBY', KEYS[1], 'adjusted', string.format('%d', change))
else
    balance(KEYS[1], KEYS[3], available)
end
return {1, available, after}
