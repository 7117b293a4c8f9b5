-- Makes what an order holds available again: once, however often it is asked.
-- KEYS 1 product   2 holds of the SKU
-- ARGV 1 order id   2 which holds: 'any'; 'expired': only one that has run out; 'claimed': one no sale, by no later claim than
--      3 fence
-- Replies 1 if nothing is held by the order now, else 0
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
