-- Makes the returned goods of an order available again, once for each report on an order and SKU, and publishes it.
-- KEYS 1 product   2 reports whose goods were put back, "order report": a sorted set by the time (ms)
-- ARGV 1 order id   2 quantity   3 how long a report is remembered (ms)   4 id of the report
-- Replies {1}, or {0} without a change if they were put back before
local report = ARGV[1] .. ' ' .. ARGV[4]
-- Earlier versions wrote the order alone: all its units are back.
if redis.call('ZSCORE', KEYS[2], report) or redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    return {0}
end
remember(KEYS[2], report, ARGV[3])
redis.call('HINCRBY', KEYS[1], 'stock', ARGV[2])
if redis.call('HEXISTS', KEYS[1], 'imported') == 1 then
    redis.call('HINCRBY', KEYS[1], 'sold', -ARGV[2])
end
redis.call('SPUBLISH', KEYS[1], '')
return {1}
