-- Deletes the sales of a completed order, which can no longer be cancelled, and adds them to the sold units of the product.
-- KEYS for each line: product, holds of the SKU, changes of these holds   ARGV 1 order id
for line = 1, #KEYS, 3 do
    local product, holds, changes = KEYS[line], KEYS[line + 1], KEYS[line + 2]
    local quantity = string.match(redis.call('HGET', holds, ARGV[1]) or '', '^(%d+) 0 ')
    if quantity then
        redis.call('HDEL', holds, ARGV[1])
        note(changes, ARGV[1], '')
        -- A product of an earlier version has no books before it is counted.
        if redis.call('HEXISTS', product, 'imported') == 1 then
            redis.call('HINCRBY', product, 'sold', quantity)
        end
    end
end
