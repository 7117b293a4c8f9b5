-- Turns a hold into a sale, which does not expire.
-- KEYS 1 holds of the SKU   ARGV 1 order id   Replies 1, or 0 if there is no hold
local quantity, fence = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) %d+ (%d+)$')
if not quantity then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], quantity .. ' 0 ' .. fence)
return 1
