-- Setting many lines, all or none: for the scripts that follow it in the same text.

-- Lua's stack holds some 8,000 values: a call with more arguments than this is split.
local AT_ONCE = 2000

local function lines_held(skus)
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

-- Lines are triples of ARGV from `first` on: SKU, quantity, unit price quoted; no SKU comes twice.
-- `wanted(quantity, quoted, held quantity, held quoted)` gives the quantity and the price that a line shall have; the held
-- ones are nil for a line that is absent. Quantity 0 removes.
local function set_many(first, wanted)
    local skus = {}
    for n = first, #ARGV, 3 do
        skus[#skus + 1] = ARGV[n]
    end
    local lines = lines_held(skus)
    local growth, set, removed = 0, {}, {}
    for n, sku in ipairs(skus) do
        local line = lines[n]
        local place, held_quantity, held_quoted
        if line then
            local packed
            packed, held_quoted = string.match(line, '^(%d+) (%d+)$')
            held_quantity = packed % PLACE
            place = (packed - held_quantity) / PLACE
        end
        local at = first + 3 * n - 2
        local quantity, quoted = wanted(tonumber(ARGV[at]), ARGV[at + 1], held_quantity, held_quoted)
        if quantity > MAX_QUANTITY and quantity > (held_quantity or 0) then
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
                place = next_place
                next_place = next_place + 1
            end
            local value = string.format('%.0f ', place * PLACE + quantity) .. quoted
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
        return answer_unchanged()
    end
    in_parts('HDEL', removed)
    in_parts('HSET', set)
    return answer_changed('\1q', next_place)
end
