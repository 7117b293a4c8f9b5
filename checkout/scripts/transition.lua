-- Changes the status of an order if it has the expected one; with a second key, also appends a message to the outbox.
-- KEYS 1 order   2 outbox, optional
-- ARGV 1 expected status   2 new status   3 all members that change, in JSON   4 order id   5 message
-- Replies {1, outbox entry or nil}, or {0, its status, '' if there is no such order}
local status = redis.call('HGET', KEYS[1], 'status') or ''
if status ~= ARGV[1] then
    return {0, status}
end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'state', ARGV[3])
return {1, KEYS[2] and redis.call('XADD', KEYS[2], '*', 'order', ARGV[4], 'message', ARGV[5])}
