-- Adds to the line of a SKU, or starts it. ARGS 3 the line: `sku`, `quantity`, `quoted` unit price; 4 its currency.
local refused = refusal()
if refused then
    return refused
end
if ARGS[4] ~= currency then
    return {'currency', currency}
end

local added = ARGS[3]
local sku, quantity = added.sku, added.quantity
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
if quantity > LIMITS.max_quantity then
    return {'quantity'}
end
if not line and line_count() >= LIMITS.max_lines then
    return {'full'}
end
return reply_changed(sku, string.format('%.0f %.0f', packed, added.quoted), '\1q', next_position)
