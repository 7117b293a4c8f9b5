#!lua flags=allow-oom
-- Appends a fact to an order, and a message to the outbox, so that a worker applies it.
-- KEYS 1 order   2 orders in flight   3 outbox
-- ARGV 1 fact id   2 fact, in JSON   3 order id   4 message   5 maximum of facts
-- Replies the id of the outbox entry; 0 if it has a fact with this id; -1 if there is no such order, -2 if it has too many
local held = redis.call('HMGET', KEYS[1], 'status', 'facts', 'fact-ids')
local status, facts, ids = held[1], held[2], held[3] or ''
if not status then
    return -1
end
if string.find('\n' .. ids .. '\n', '\n' .. ARGV[1] .. '\n', 1, true) then
    -- A write all the same: this call is durable only when the fact is, which may have come over another connection.
    redis.call('HINCRBY', KEYS[1], 'touched', 1)
    return 0
end
if select(2, string.gsub(ids, '\n', '')) + 1 >= tonumber(ARGV[5]) then
    return -2
end
local line = ARGV[1] .. ' ' .. ARGV[2]
redis.call('HSET', KEYS[1], 'facts', facts and facts .. '\n' .. line or line,
    'fact-ids', ids == '' and ARGV[1] or ids .. '\n' .. ARGV[1])
local entry = redis.call('XADD', KEYS[3], '*', 'order', ARGV[3], 'message', ARGV[4])
redis.call('ZADD', KEYS[2], string.match(entry, '^%d+'), ARGV[3])
return entry
