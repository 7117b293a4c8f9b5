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

-- Lines are triples of ARGV from `first` on: SKU, quantity, unit price quoted; every SKU differs.
-- `wanted(quantity, quoted, stored quantity, stored quoted)` returns the new quantity and price of a line; the stored
-- ones are nil for a line that is absent. Quantity 0 removes.
local function set_many(first, wanted)
    local skus = {}
    for n = first, #ARGV, 3 do
        skus[#skus + 1] = ARGV[n]
    end
    local lines = stored_lines(skus)
    local growth, set, removed = 0, {}, {}
    for n, sku in ipairs(skus) do
        local line = lines[n]
        local position, stored_quantity, stored_quoted
        if line then
            local packed
            packed, stored_quoted = string.match(line, '^(%d+) (%d+)$')
            stored_quantity = packed % POSITION
            position = (packed - stored_quantity) / POSITION
        end
        local at = first + 3 * n - 2
        local quantity, quoted = wanted(tonumber(ARGV[at]), ARGV[at + 1], stored_quantity, stored_quoted)
        if quantity > MAX_QUANTITY and quantity > (stored_quantity or 0) then
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
            local value = string.format('%.0f ', position * POSITION + quantity) .. quoted
            if value ~= line then
                set[#set + 1] = sku
                set[#set + 1] = value
            end
        end
    end
    if growth > 0 and line_count() + growth > MAX_LINES then
        return {'full'}
    end
    if #set == 0 and #removed == 0 then
        return reply_unchanged()
    end
    in_parts('HDEL', removed)
    in_parts('HSET', set)
    return reply_changed('\1q', next_position)
end
