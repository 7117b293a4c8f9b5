#!lua flags=allow-oom
-- Renews the lease of an order.
-- KEYS 1 order
-- ARGV 1 holder   2 lifetime of the lease (ms)
-- Replies 1, or 0 if another holder has it
local status, lease = unpack(redis.call('HMGET', KEYS[1], 'status', 'lease'))
-- A completed order, and what follows, needs no lease to be finished.
if not lease and (status == 'completed' or status == 'shipped' or status == 'delivered' or status == 'returned') then
    return 1
end
if not lease or string.match(lease, '^%S+') ~= ARGV[1] then
    return 0
end
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
redis.call('HSET', KEYS[1], 'lease', ARGV[1] .. ' ' .. string.format('%d', until_ms))
return 1
