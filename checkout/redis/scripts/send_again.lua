#!lua flags=allow-oom
-- Puts the message of a stalled order into the outbox again.
-- KEYS 1 orders in flight   2 order   3 outbox
-- ARGV 1 order id   2 time without a sign of life (ms)   3 message   4 maximum of outbox entries to look at
-- Replies the id of the outbox entry, or nil, if the order is not stalled or its message may be in the outbox
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not seen or now - seen < tonumber(ARGV[2]) then
    return false
end
local held = redis.call('HMGET', KEYS[2], 'status', 'aside', 'lease', 'facts')
local status, aside, lease, facts = held[1], held[2], held[3], held[4]
-- It was rolled back, or set aside for a person and nothing was told of it since.
if not status or (aside and string.match(aside, '^%S+') == status and not facts) then
    redis.call('ZREM', KEYS[1], ARGV[1])
    return false
end
if lease and tonumber(string.match(lease, '%d+$')) > now then
    return false
end
local entries = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', ARGV[4])
if #entries == tonumber(ARGV[4]) then
    return false
end
for _, entry in ipairs(entries) do
    if entry[2][2] == ARGV[1] then
        return false
    end
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
return redis.call('XADD', KEYS[3], '*', 'order', ARGV[1], 'message', ARGV[3])
