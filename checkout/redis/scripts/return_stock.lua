-- Makes an order's holds of SKUs available again, and publishes it on a channel named like each product; idempotent.
-- KEYS for each line: product, holds of the SKU, changes of these holds, purchases of the SKU, carts with holds
-- ARGV 1 order id   2 'any': a hold or a sale; 'expired': an expired hold; 'claimed': a hold by this claim or an earlier one
--      3 fence of the claim   4 of 'claimed', name of the cart's hold, which gets the units back that the order took over, until its end
-- Replies for each line 1 if the order holds nothing now, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function give_back(product, holds, changes, purchases, carts)
    local hold = redis.call('HGET', holds, ARGV[1])
    if not hold then
        return 1
    end
    local quantity, expires, fence = string.match(hold, '^(%d+) (%d+) (%d+)$')
    if ARGV[2] ~= 'any' then
        if expires == '0' then
            return 0
        end
        if ARGV[2] == 'expired' then
            if tonumber(expires) > now then
                return 0
            end
        elseif tonumber(fence) > tonumber(ARGV[3]) then
            return 0
        end
    end
    redis.call('HDEL', holds, ARGV[1])
    note(changes, ARGV[1], '')
    take_back(purchases, ARGV[1])
    local cart_until = ARGV[4] and tonumber(redis.call('ZSCORE', carts, ARGV[4]) or 0) or 0
    if cart_until > now and redis.call('HEXISTS', holds, ARGV[4]) == 0 then
        redis.call('HSET', holds, ARGV[4], string.format('%d %d 1', quantity, cart_until))
        note(changes, ARGV[4], quantity)
        return 1
    end
    redis.call('HINCRBY', product, 'stock', quantity)
    redis.call('SPUBLISH', product, '')
    return 1
end
local replies = {}
for line = 1, #KEYS / 5 do
    replies[line] = give_back(KEYS[5 * line - 4], KEYS[5 * line - 3], KEYS[5 * line - 2], KEYS[5 * line - 1], KEYS[5 * line])
end
return replies
