-- Holds quantities of SKUs for an order, each or none of it; idempotent.
-- KEYS for each line: product, holds of the SKU, changes of these holds
-- ARGV 1 order id   2 fence of the claim   3 lifetime of the holds (ms)   4... the quantity of each line
-- Replies for each line -1 if it is held, -2 if it is held by a later claim of the cart, or sold; else the quantity available
--
-- The value of a hold is "quantity expires fence"; expires (ms, this server's clock) is 0 for a sale.
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
local function hold(product, holds, changes, wanted)
    local stock = tonumber(redis.call('HGET', product, 'stock') or 0)
    local quantity, expires, fence = string.match(redis.call('HGET', holds, ARGV[1]) or '0 1 0', '^(%d+) (%d+) (%d+)$')
    if expires == '0' or tonumber(fence) > tonumber(ARGV[2]) then
        return -2
    end
    local missing = wanted - quantity
    if missing > stock then
        return stock + quantity
    end
    if missing ~= 0 then
        redis.call('HINCRBY', product, 'stock', -missing)
        note(changes, ARGV[1], wanted)
    end
    redis.call('HSET', holds, ARGV[1], string.format('%d %d %d', wanted, until_ms, ARGV[2]))
    return -1
end
local replies = {}
for line = 1, #KEYS / 3 do
    replies[line] = hold(KEYS[3 * line - 2], KEYS[3 * line - 1], KEYS[3 * line], ARGV[3 + line])
end
return replies
