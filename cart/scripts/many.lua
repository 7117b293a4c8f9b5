-- Setting many lines, all or none: for the scripts that follow it in the same text.

-- Lua's stack holds some 8,000 values: a call with more arguments than this is split.
local AT_ONCE = 2000

local function stored_lines(skus)
    local lines = {}
    for first = 1, #skus, AT_ONCE do
        local some = redis.call('HMGET', CART, unpack(skus, first, math.min(first + AT_ONCE - 1, #skus)))
        for n = 1, #some do
            lines[first + n - 1] = some[n]
        end
    end
    return lines
end

local function in_parts(command, arguments)
    for first = 1, #arguments, AT_ONCE do
        redis.call(command, CART, unpack(arguments, first, math.min(first + AT_ONCE - 1, #arguments)))
    end
end

-- Each of `lines` has a `sku`, which differs from the others, a `quantity` and a `quoted` unit price.
-- `wanted(quantity, quoted, stored quantity, stored quoted)` returns the new quantity and price of a line; the stored
-- ones are nil for a line that is absent. Quantity 0 removes.
local function set_many(lines, wanted)
    local skus = {}
    for n, line in ipairs(lines) do
        skus[n] = line.sku
    end
    local stored = stored_lines(skus)
    local growth, set, removed = 0, {}, {}
    for n, sku in ipairs(skus) do
        local line = stored[n]
        local position, stored_quantity, stored_quoted
        if line then
            local packed
            packed, stored_quoted = string.match(line, '^(%d+) (%d+)$')
            stored_quantity = packed % POSITION
            position = (packed - stored_quantity) / POSITION
        end
        local quantity, quoted = wanted(lines[n].quantity, lines[n].quoted, stored_quantity, tonumber(stored_quoted))
        if quantity > LIMITS.max_quantity and quantity > (stored_quantity or 0) then
            return {'quantity'}
        end
        if quantity == 0 then
            if line then
                growth = growth - 1
                removed[#removed + 1] = sku
            end
        else
            if not line then
                growth = growth + 1
                position = next_position
                next_position = next_position + 1
            end
            local value = string.format('%.0f %.0f', position * POSITION + quantity, quoted)
            if value ~= line then
                set[#set + 1] = sku
                set[#set + 1] = value
            end
        end
    end
    if growth > 0 and line_count() + growth > LIMITS.max_lines then
        return {'full'}
    end
    if #set == 0 and #removed == 0 then
        return reply_unchanged()
    end
    in_parts('HDEL', removed)
    in_parts('HSET', set)
    return reply_changed('\1q', next_position)
end
