-- Adds to the line of a SKU, or starts it, and returns the whole cart; nothing if there is none. KEYS[1] the cart, as
-- cart/stored.py says. ARGV 1 SKU, 2 quantity, 3 unit price, 4 now (ms), 5 lifetime of the cart (ms)
local PLACE = 1048576
local held = redis.call('HMGET', KEYS[1], '\1v', '\1q', ARGV[1])
if not held[1] then
    return {}
end
local next_place = tonumber(held[2])
local packed
if held[3] then
    packed = tonumber(string.match(held[3], '^%d+')) + tonumber(ARGV[2])
else
    packed = next_place * PLACE + tonumber(ARGV[2])
    next_place = next_place + 1
end
local line = string.format('%.0f ', packed) .. ARGV[3]
redis.call('HSET', KEYS[1], '\1v', held[1] + 1, '\1u', ARGV[4], '\1q', next_place, ARGV[1], line)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return redis.call('HGETALL', KEYS[1])
