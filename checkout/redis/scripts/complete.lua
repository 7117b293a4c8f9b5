#!lua flags=allow-oom
-- Deletes the sales of a completed order, which can no longer be cancelled.
-- KEYS the holds of each SKU   ARGV 1 order id
for _, holds in ipairs(KEYS) do
    local hold = redis.call('HGET', holds, ARGV[1])
    if hold and string.find(hold, ' 0 ', 1, true) then
        redis.call('HDEL', holds, ARGV[1])
    end
end
