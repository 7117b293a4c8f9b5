#!lua flags=allow-oom
-- Turns holds into sales, which do not expire.
-- KEYS the holds of each SKU   ARGV 1 order id   Replies for each 1, or 0 if there is no hold
local replies = {}
for line, holds in ipairs(KEYS) do
    local quantity, fence = string.match(redis.call('HGET', holds, ARGV[1]) or '', '^(%d+) %d+ (%d+)$')
    replies[line] = quantity and 1 or 0
    if quantity then
        redis.call('HSET', holds, ARGV[1], quantity .. ' 0 ' .. fence)
    end
end
return replies
