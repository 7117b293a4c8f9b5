-- Write one product. KEYS[1] its hash; ARGV name, price, currency, stock. Stock is set to that of the import.
-- Returns 'new', 'changed' (cached copies are outdated) or 'same'.
local was = redis.call('HMGET', KEYS[1], 'name', 'price', 'currency')
redis.call('HSET', KEYS[1], 'name', ARGV[1], 'price', ARGV[2], 'currency', ARGV[3], 'stock', ARGV[4])
if not was[1] then
  return 'new'
end
if was[1] == ARGV[1] and was[2] == ARGV[2] and was[3] == ARGV[3] then
  return 'same'
end
return 'changed'
