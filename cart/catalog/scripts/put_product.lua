-- Write one product. KEYS[1] its hash, KEYS[2] its holds; ARGV name, price, currency, stock, '=' with the category behind it, or
-- nothing for none, and then the name of a term and its value, nothing for its default, as often as needed. An empty one of the
-- first five stays as it is, whatever is sold meanwhile. So does the stock of a known product, unless it alone is given. A new
-- product without a stock has none. Another currency ends scheduled prices, which are in the one before.
-- Returns 'new', 'changed' (cached copies are outdated), 'same', or 'unknown': there is no such product, and too little is
-- said to make it; with '+' behind it if the product has scheduled prices.
local was = redis.call('HMGET', KEYS[1], 'name', 'price', 'currency', 'category', 'stock', 'imported')
local is_new = not was[1]
if is_new and (ARGV[1] == '' or ARGV[2] == '' or ARGV[3] == '') then
  return 'unknown'
end
local sets_stock = is_new or (#ARGV == 5 and table.concat(ARGV) == ARGV[4])
local values = {}
for at, field in ipairs({'name', 'price', 'currency', 'stock'}) do
  if ARGV[at] ~= '' and (field ~= 'stock' or sets_stock) then
    values[#values + 1] = field
    values[#values + 1] = ARGV[at]
  end
end
local category = string.sub(ARGV[5], 2)
if category ~= '' then
  values[#values + 1] = 'category'
  values[#values + 1] = category
end
if sets_stock and ARGV[4] ~= '' then
  redis.call('SPUBLISH', KEYS[1], '')
end
if #values > 0 then
  redis.call('HSET', KEYS[1], unpack(values))
end
local is_sold_otherwise = false
if not is_new and ARGV[3] ~= '' and ARGV[3] ~= was[3] then
  redis.call('HDEL', KEYS[1], 'scheduled_prices')
end
for at = 6, #ARGV, 2 do
  local term, value = ARGV[at], ARGV[at + 1]
  is_sold_otherwise = is_sold_otherwise or value ~= (redis.call('HGET', KEYS[1], term) or '')
  if value == '' then
    redis.call('HDEL', KEYS[1], term)
  else
    redis.call('HSET', KEYS[1], term, value)
  end
end
if ARGV[5] == '=' then
  redis.call('HDEL', KEYS[1], 'category')
end
if is_new then
  redis.call('HSETNX', KEYS[1], 'stock', 0)
end
if not was[6] or (sets_stock and ARGV[4] ~= '') then
  balance(KEYS[1], KEYS[2], was[5] or 0)
end
local mark = redis.call('HEXISTS', KEYS[1], 'scheduled_prices') == 1 and '+' or ''
if is_new then
  return 'new' .. mark
end
for at = 1, 3 do
  if ARGV[at] ~= '' and ARGV[at] ~= was[at] then
    return 'changed' .. mark
  end
end
if is_sold_otherwise or (ARGV[5] ~= '' and category ~= (was[4] or '')) then
  return 'changed' .. mark
end
return 'same' .. mark
