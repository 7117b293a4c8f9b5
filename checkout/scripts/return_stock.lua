-- Makes an order's hold of a SKU available again; idempotent.
-- KEYS 1 product   2 holds of the SKU
-- ARGV 1 order id   2 'any': a hold or a sale; 'expired': an expired hold; 'claimed': a hold by this claim or an earlier one
--      3 fence of the claim
-- Replies 1 if the order holds nothing now, else 0
local hold = redis.call('HGET', KEYS[2], ARGV[1])
if not hold then
    return 1
end
local quantity, expires, fence = string.match(hold, '^(%d+) (%d+) (%d+)$')
if ARGV[2] ~= 'any' then
    if expires == '0' then
        return 0
    end
    if ARGV[2] == 'expired' then
        local time = redis.call('TIME')
        if tonumber(expires) > time[1] * 1000 + math.floor(time[2] / 1000) then
            return 0
        end
    elseif tonumber(fence) > tonumber(ARGV[3]) then
        return 0
    end
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'stock', quantity)
return 1
