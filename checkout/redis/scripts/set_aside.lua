#!lua flags=allow-oom
-- Sets an order aside that needs a person.
-- KEYS 1 order   2 orders of the partition that need attention
-- ARGV 1 order id   2 holder   3 reason
-- Replies 1, or 0 if another holder has the lease, or there is no such order
local status, lease = unpack(redis.call('HMGET', KEYS[1], 'status', 'lease'))
if not status or (lease and string.match(lease, '^%S+') ~= ARGV[2]) then
    return 0
end
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HDEL', KEYS[1], 'lease')
redis.call('HSET', KEYS[1], 'aside', status .. ' ' .. now)
redis.call('HSET', KEYS[2], ARGV[1], now .. ' ' .. ARGV[3])
return 1
