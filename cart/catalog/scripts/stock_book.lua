-- The book of a product: for sale = imported + adjusted - sold - held. For the scripts that follow it in the same text.

-- Makes the book agree after a count, and takes in a product of earlier versions, which has none. With very many holds, only the
-- difference to the units that were for sale `before` is written.
local function balance(product, holds, before)
  local stock, imported, sold = unpack(redis.call('HMGET', product, 'stock', 'imported', 'sold'))
  if redis.call('HLEN', holds) > 1000 then
    return imported and redis.call('HINCRBY', product, 'adjusted', string.format('%d', stock - before))
  end
  local all = tonumber(stock)
  for at, field in ipairs(redis.call('HGETALL', holds)) do
    all = all + (at % 2 == 0 and string.match(field, '^%d+') or 0)
  end
  if imported then
    redis.call('HSET', product, 'adjusted', string.format('%d', all + (sold or 0) - imported))
  else
    redis.call('HSET', product, 'imported', string.format('%d', all))
  end
end
