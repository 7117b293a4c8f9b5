-- Adds to the line of a SKU, or starts it. ARGV 9 SKU, 10 quantity, 11 unit price quoted, 12 its currency.
local refused = refusal()
if refused then
    return refused
end
if ARGV[12] ~= currency then
    return {'currency', currency}
end

local sku, quantity = ARGV[9], tonumber(ARGV[10])
local line = redis.call('HGET', CART, sku)
local packed
if line then
    packed = tonumber(string.match(line, '^%d+'))
    quantity = packed % POSITION + quantity
    packed = packed - packed % POSITION + quantity
else
    packed = next_position * POSITION + quantity
    next_position = next_position + 1
end
if quantity > MAX_QUANTITY then
    return {'quantity'}
end
if not line and line_count() >= MAX_LINES then
    return {'full'}
end
return reply_changed(sku, string.format('%.0f ', packed) .. ARGV[11], '\1q', next_position)
