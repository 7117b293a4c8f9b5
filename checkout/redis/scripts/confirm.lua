#!lua flags=allow-oom
-- Turns holds into sales, which do not expire.
-- KEYS for each line: product, holds of the SKU   ARGV 1 order id   2 '1' to read the units that are left
-- Replies for each line -1 if there is no hold, else 0, or the units that are left for sale
local replies = {}
for line = 1, #KEYS / 2 do
    local product, holds = KEYS[2 * line - 1], KEYS[2 * line]
    local quantity, fence = string.match(redis.call('HGET', holds, ARGV[1]) or '', '^(%d+) %d+ (%d+)$')
    replies[line] = -1
    if quantity then
        redis.call('HSET', holds, ARGV[1], quantity .. ' 0 ' .. fence)
        replies[line] = ARGV[2] == '1' and tonumber(redis.call('HGET', product, 'stock') or 0) or 0
    end
end
return replies
