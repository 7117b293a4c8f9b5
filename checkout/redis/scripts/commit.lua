-- Turns a claimed cart into an order, which keeps the idempotency key, with its message in the outbox.
-- KEYS 1 cart   2 claim   3 open claims   4 order   5 outbox   6 orders in flight   7 accepted orders
--      8... events, one for each sink
-- ARGV 1 token of the claim   2 version of the cart   3 now (ms)   4 cart id   5 order id   6 the order, in JSON   7 hash of the
--      idempotency key   8 fingerprint of the body   9 '1' if the order is durable on reply, else '0'   10 message
--      11 lifetime of an anonymous cart (ms)   12 of an owned one
-- Replies the id of the outbox entry, or nil, without a change, if the claim has expired or the cart has changed
if redis.call('GET', KEYS[2]) ~= table.concat({ARGV[1], ARGV[2], ARGV[7], ARGV[8]}, ' ') then
    return false
end
local held = redis.call('HMGET', KEYS[1], '\1v', '\1s', '\1u', '\1w')
local version, status, updated = held[1], held[2], tonumber(held[3])
if version ~= ARGV[2] or status then
    return false
end
redis.call('HSET', KEYS[1], '\1s', 'ordered', '\1o', ARGV[5], '\1v', version + 1, '\1u', math.max(tonumber(ARGV[3]), updated))
-- A cart expires a fixed time after its last change, and this is a change. By this server's clock: those of processes differ.
redis.call('PEXPIRE', KEYS[1], held[4] and ARGV[12] or ARGV[11], 'GT')
redis.call('HSET', KEYS[4], 'doc', ARGV[6], 'status', 'accepted', 'key', ARGV[7], 'body', ARGV[8], 'durable', ARGV[9])
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[4] .. ' ' .. version)
local entry = redis.call('XADD', KEYS[5], '*', 'order', ARGV[5], 'message', ARGV[10])
local now = string.match(entry, '^%d+')
redis.call('ZADD', KEYS[6], now, ARGV[5])
redis.call('ZADD', KEYS[7], now, ARGV[5])
for i = 8, #KEYS do
    redis.call('XADD', KEYS[i], '*', 'order', ARGV[5], 'number', 1)
end
return entry
