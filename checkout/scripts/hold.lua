-- Holds a quantity of a SKU for an order; idempotent.
-- KEYS 1 product   2 holds of the SKU
-- ARGV 1 order id   2 quantity   3 fence of the claim   4 lifetime of the hold (ms)
-- Replies {'held'} {'short', quantity available} {'overtaken'}: held by a later claim of the cart, or sold
--
-- The value of a hold is "quantity expires fence"; expires (ms, this server's clock) is 0 for a sale.
local time = redis.call('TIME')
local stock = tonumber(redis.call('HGET', KEYS[1], 'stock') or 0)
local quantity, expires, fence = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '0 1 0', '^(%d+) (%d+) (%d+)$')
if expires == '0' or tonumber(fence) > tonumber(ARGV[3]) then
    return {'overtaken'}
end
local missing = ARGV[2] - quantity
if missing > stock then
    return {'short', stock + quantity}
end
if missing ~= 0 then
    redis.call('HINCRBY', KEYS[1], 'stock', -missing)
end
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
redis.call('HSET', KEYS[2], ARGV[1], string.format('%d %d %d', ARGV[2], until_ms, ARGV[3]))
return {'held'}
