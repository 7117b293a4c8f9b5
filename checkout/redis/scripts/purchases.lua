-- For the scripts that follow it in the same text: the units of a SKU that each shopper has ordered of late.
-- A hash: by shopper "order units at ...", and by '@' with an order id its time and its shoppers; times in ms by this server's clock.

-- The units of a shopper in orders since that time, but for one order; and the text of these purchases.
local function bought(purchases, shopper, but_order, since)
    local units, rest = 0, {}
    for order, quantity, at in string.gmatch(redis.call('HGET', purchases, shopper) or '', '(%S+) (%d+) (%d+)') do
        if order ~= but_order and tonumber(at) > since then
            units = units + quantity
            rest[#rest + 1] = table.concat({order, quantity, at}, ' ')
        end
    end
    return units, table.concat(rest, ' ')
end

-- The units that are left to an order of these shoppers, by the one who has the fewest.
local function units_left(purchases, shoppers, order, limit, since)
    local left = limit
    for shopper in string.gmatch(shoppers, '%S+') do
        left = math.min(left, limit - bought(purchases, shopper, order, since))
    end
    return math.max(left, 0)
end

-- Removes the purchases of one shopper, of an order or before a time.
local function forget(purchases, shopper, order, since)
    local units, rest = bought(purchases, shopper, order, since)
    if units == 0 then
        redis.call('HDEL', purchases, shopper)
    else
        redis.call('HSET', purchases, shopper, rest)
    end
end

-- Removes outdated purchases among eight fields by chance: each order adds three, so at most some of them stay behind.
local function forget_some(purchases, since)
    for _, field in ipairs(redis.call('HRANDFIELD', purchases, 8)) do
        if string.sub(field, 1, 1) ~= '@' then
            forget(purchases, field, '', since)
        elseif tonumber(string.match(redis.call('HGET', purchases, field), '^%d+')) <= since then
            redis.call('HDEL', purchases, field)
        end
    end
end

-- Records the units of an order for each of its shoppers, for `life` ms.
local function record(purchases, shoppers, order, quantity, now, life)
    for shopper in string.gmatch(shoppers, '%S+') do
        local _, rest = bought(purchases, shopper, order, now - life)
        redis.call('HSET', purchases, shopper, string.format('%s %d %d %s', order, quantity, now, rest))
    end
    redis.call('HSET', purchases, '@' .. order, string.format('%d %s', now, shoppers))
    redis.call('PEXPIRE', purchases, life)
    forget_some(purchases, now - life)
end

-- Removes the units of an order from those of its shoppers.
local function take_back(purchases, order)
    local shoppers = redis.call('HGET', purchases, '@' .. order)
    if shoppers then
        redis.call('HDEL', purchases, '@' .. order)
        for shopper in string.gmatch(shoppers, ' (%S+)') do
            forget(purchases, shopper, order, 0)
        end
    end
end
