#!lua flags=allow-oom
-- Rolls back a commit that is not durable: the cart is open again, with a new version.
-- KEYS 1 cart   2 order   3 open claims   4 outbox   5 orders in flight   6 accepted orders
-- ARGV 1 cart id   2 order id   3 outbox entry   4 SKUs of the order, one a line
-- Replies 1, or 0 if a replay found the order durable, its status has changed, or its message was sent
local held = redis.call('HMGET', KEYS[2], 'durable', 'status')
if held[1] ~= '0' or held[2] ~= 'accepted' or redis.call('XDEL', KEYS[4], ARGV[3]) == 0 then
    return 0
end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('ZREM', KEYS[6], ARGV[2])
redis.call('SPUBLISH', KEYS[2], '')
local version, order_id = unpack(redis.call('HMGET', KEYS[1], '\1v', '\1o'))
if order_id == ARGV[2] then
    -- If this process dies before it releases the stock, the sweeper does. The commit incremented the version by one.
    local time = redis.call('TIME')
    local since = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
    redis.call('HSET', KEYS[3], ARGV[1] .. ' ' .. string.format('%d', version - 1), since .. '\n' .. ARGV[4])
    redis.call('HDEL', KEYS[1], '\1s', '\1o')
    redis.call('HINCRBY', KEYS[1], '\1v', 1)
end
return 1
