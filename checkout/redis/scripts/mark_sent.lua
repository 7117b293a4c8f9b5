#!lua flags=allow-oom
-- Deletes the entries of orders whose messages the queue has. The time is that of the orders' last sign of life.
-- KEYS for each entry: outbox, orders in flight
-- ARGV for each entry: its id, its order's id
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #KEYS, 2 do
    redis.call('XDEL', KEYS[i], ARGV[i])
    redis.call('ZADD', KEYS[i + 1], 'XX', now, ARGV[i + 1])
end
return #KEYS / 2
