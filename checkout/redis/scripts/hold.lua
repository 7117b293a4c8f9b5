-- Holds quantities of SKUs for an order, each or none of it; idempotent.
-- KEYS for each line: product, holds of the SKU, changes of these holds, and with shoppers purchases of the SKU
-- ARGV 1 order id   2 fence of the claim   3 lifetime of the holds (ms)   4 the shoppers of the order, with a blank between them;
--      '' for no limit
--      5 how long their purchases count (ms)   6 name of the cart's hold, whose units the order takes over   7... the quantity of each line
-- Replies for each line -1 if it is held, {units, date in JSON} if so many of them were sold ahead, -2 if it is held by a later claim of the cart, or sold; -3 less the units that are left to
-- the shoppers if that is too few; else the quantity available
--
-- The value of a hold is "quantity expires fence"; expires (ms, this server's clock) is 0 for a sale.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function hold(product, holds, changes, purchases, wanted)
    local terms = redis.call('HMGET', product, 'stock', 'per_shopper', 'sold_ahead', 'ahead_limit', 'available_on', 'hold_at_cart')
    local stock, limit, is_ahead = tonumber(terms[1] or 0), terms[2], terms[3]
    local ahead = is_ahead and tonumber(terms[4] or 1e12) or 0
    local quantity, expires, fence = string.match(redis.call('HGET', holds, ARGV[1]) or '0 1 0', '^(%d+) (%d+) (%d+)$')
    if expires == '0' or tonumber(fence) > tonumber(ARGV[2]) then
        return -2
    end
    local of_cart = terms[6] and string.match(redis.call('HGET', holds, ARGV[6]) or '', '^%d+') or 0
    local missing = wanted - quantity - of_cart
    if missing > 0 and missing > stock + ahead then
        return math.max(stock + ahead + quantity + of_cart, 0)
    end
    if limit and ARGV[4] ~= '' then
        local left = units_left(purchases, ARGV[4], ARGV[1], tonumber(limit), now - ARGV[5])
        if tonumber(wanted) > left then
            return -3 - left
        end
        record(purchases, ARGV[4], ARGV[1], wanted, now, tonumber(ARGV[5]))
    end
    if missing ~= 0 then
        redis.call('HINCRBY', product, 'stock', -missing)
    end
    if tonumber(of_cart) > 0 then
        redis.call('HDEL', holds, ARGV[6])
        note(changes, ARGV[6], '')
    end
    if tonumber(wanted) ~= tonumber(quantity) then
        note(changes, ARGV[1], wanted)
    end
    redis.call('HSET', holds, ARGV[1], string.format('%d %d %d', wanted, now + ARGV[3], ARGV[2]))
    local units_ahead = math.min(missing - stock, wanted)
    return units_ahead > 0 and is_ahead and {units_ahead, terms[5] or '""'} or -1
end
local replies = {}
local count = ARGV[4] ~= '' and 4 or 3
for line = 1, #KEYS / count do
    replies[line] = hold(KEYS[count * (line - 1) + 1], KEYS[count * (line - 1) + 2], KEYS[count * (line - 1) + 3], KEYS[count * line], ARGV[6 + line])
end
return replies
