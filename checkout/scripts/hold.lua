-- Takes some of a SKU out of what is available, for an order: once, however often it is asked.
-- KEYS 1 product   2 holds of the SKU
-- ARGV 1 order id   2 quantity   3 fence   4 how long the hold lasts (ms)
-- Replies {'held'} {'short', what could be had} {'overtaken'}: a later claim of the cart holds it, or it is sold already
--
-- A hold is "quantity expires fence"; expires (ms, by this server's clock) is 0 once it is a sale.
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
