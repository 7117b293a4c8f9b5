-- Deletes the sale of a completed order, which can no longer be cancelled.
-- KEYS 1 holds of the SKU   ARGV 1 order id
local hold = redis.call('HGET', KEYS[1], ARGV[1])
if hold and string.find(hold, ' 0 ', 1, true) then
    return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
