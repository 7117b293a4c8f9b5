-- Stores an order as the archive has it, unless the store has it at this revision or a later one.
-- KEYS 1 order   2 orders in flight   3 ended orders   4 outbox   5 orders in its status   6... orders in all others
-- ARGV 1 order id   2 revision   3 '1' if a worker is to continue it   4 time of its last change (ms)   5 message
--      6... fields and values of the order
-- Replies 1, or 0 without a change
local held = redis.call('HMGET', KEYS[1], 'status', 'revision')
if held[1] and tonumber(held[2] or 1) >= tonumber(ARGV[2]) then
    return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'durable', '1', unpack(ARGV, 6))
if ARGV[3] == '1' then
    redis.call('ZREM', KEYS[3], ARGV[1])
    local entry = redis.call('XADD', KEYS[4], '*', 'order', ARGV[1], 'message', ARGV[5])
    redis.call('ZADD', KEYS[2], string.match(entry, '^%d+'), ARGV[1])
else
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
end
for i = 6, #KEYS do
    redis.call('ZREM', KEYS[i], ARGV[1])
end
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[1])
redis.call('SPUBLISH', KEYS[1], '')
return 1
