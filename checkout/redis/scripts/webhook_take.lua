#!lua flags=allow-oom
-- Leases the first message of the order that has been due for longest: the time at which it is due again is the lease.
-- KEYS 1 waiting messages by order   2 orders by the time that they are due
-- ARGV 1 length of the lease (ms)
-- Replies {order id, its attempts and numbers, lease}, or nil if none is due
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
    local order = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not order then
        return false
    end
    local queue = redis.call('HGET', KEYS[1], order)
    if queue then
        local lease = string.format('%d', now + ARGV[1])
        redis.call('ZADD', KEYS[2], lease, order)
        return {order, queue, lease}
    end
    redis.call('ZREM', KEYS[2], order)
end
