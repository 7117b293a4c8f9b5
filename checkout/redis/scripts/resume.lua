#!lua flags=allow-oom
-- Returns an order that was set aside to the workers, without its failures.
-- KEYS 1 order   2 orders of the partition that need attention   3 outbox   4 orders in flight
-- ARGV 1 order id   2 message
-- Replies the id of the outbox entry, or nil if the order was not set aside
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], 'aside') == 0 then
    return false
end
redis.call('HDEL', KEYS[1], 'failures', 'deaths', 'unanswered', 'due')
local entry = redis.call('XADD', KEYS[3], '*', 'order', ARGV[1], 'message', ARGV[2])
redis.call('ZADD', KEYS[4], string.match(entry, '^%d+'), ARGV[1])
return entry
