-- Moves an order on, if it is in the status the caller knew; with a second key, also posts a message.
-- KEYS 1 order   2 outbox, if there is something to post
-- ARGV 1 status the order must be in   2 the new one   3 all that changes with it, in JSON   4 order id   5 message
-- Replies {1, outbox entry or nil}, or {0, the status it is in, '' if there is no such order}
local status = redis.call('HGET', KEYS[1], 'status') or ''
if status ~= ARGV[1] then
    return {0, status}
end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'state', ARGV[3])
return {1, KEYS[2] and redis.call('XADD', KEYS[2], '*', 'order', ARGV[4], 'message', ARGV[5])}
