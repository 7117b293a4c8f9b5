-- Write one product. KEYS[1] its hash; ARGV name, price, currency, stock; an empty one stays as it is, whatever is sold
-- meanwhile. A new product without a stock has none.
-- Returns 'new', 'changed' (cached copies are outdated), 'same', or 'unknown': there is no such product, and too little is
-- said to make it.
local was = redis.call('HMGET', KEYS[1], 'name', 'price', 'currency')
local is_new = not was[1]
if is_new and (ARGV[1] == '' or ARGV[2] == '' or ARGV[3] == '') then
  return 'unknown'
end
local values = {}
for at, field in ipairs({'name', 'price', 'currency', 'stock'}) do
  if ARGV[at] ~= '' then
    values[#values + 1] = field
    values[#values + 1] = ARGV[at]
  end
end
if #values > 0 then
  redis.call('HSET', KEYS[1], unpack(values))
end
if is_new then
  redis.call('HSETNX', KEYS[1], 'stock', 0)
  return 'new'
end
for at = 1, 3 do
  if ARGV[at] ~= '' and ARGV[at] ~= was[at] then
    return 'changed'
  end
end
return 'same'
