-- Forgets a sale: the order is completed, so what it was sold never comes back.
-- KEYS 1 holds of the SKU   ARGV 1 order id
local hold = redis.call('HGET', KEYS[1], ARGV[1])
if hold and string.find(hold, ' 0 ', 1, true) then
    return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
