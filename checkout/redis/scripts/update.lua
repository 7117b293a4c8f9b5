#!lua flags=allow-oom
-- Stores the next revision of an order if it has the expected one, appends it to the events for each sink, and a message to
-- the outbox if there is one.
-- KEYS 1 order   2 orders in flight   3 orders of the expected status   4 orders of the new one   5 outbox, only with a message
--      then events, one for each sink, if it is an event
-- ARGV 1 expected status   2 expected revision   3 new status   4 all members that change, in JSON   5 order id
--      6 id of the fact that this applies, or ''   7 number of the event   8 message
-- Replies {1, outbox entry or nil}, or {0, its status, '' if there is no such order}
local held = redis.call('HMGET', KEYS[1], 'status', 'revision', 'facts')
local status, revision, facts = held[1] or '', held[2], held[3]
if revision and revision ~= ARGV[2] then
    local state = redis.call('HGET', KEYS[1], 'state')
    -- A worker of an earlier release, which stores no revision, has moved the order on since.
    if state and not string.find(state, '"revision":', 1, true) then
        revision = false
    end
end
-- Orders of earlier versions have no revision until their next change.
if status ~= ARGV[1] or (revision and revision ~= ARGV[2]) then
    return {0, status}
end
redis.call('HSET', KEYS[1], 'status', ARGV[3], 'state', ARGV[4], 'revision', ARGV[2] + 1)
if ARGV[6] ~= '' and facts then
    local left = {}
    for line in string.gmatch(facts, '[^\n]+') do
        if string.match(line, '^%S+') ~= ARGV[6] then
            left[#left + 1] = line
        end
    end
    facts = #left > 0 and table.concat(left, '\n') or false
    if facts then
        redis.call('HSET', KEYS[1], 'facts', facts)
    else
        redis.call('HDEL', KEYS[1], 'facts')
    end
end
if ARGV[3] == 'completed' then
    -- Its progress (`scripts/take.lua`) is of no use to anyone now, but for the lease, if there are facts to apply.
    redis.call('HDEL', KEYS[1], 'failures', 'deaths', 'unanswered')
    if not facts then
        redis.call('HDEL', KEYS[1], 'lease')
    end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], now, ARGV[5])
if status ~= ARGV[3] then
    redis.call('ZREM', KEYS[3], ARGV[5])
    redis.call('ZADD', KEYS[4], now, ARGV[5])
end
-- Those who follow the order listen on a channel named like its key.
redis.call('SPUBLISH', KEYS[1], ARGV[3])
local message = ARGV[8]
for i = message and 6 or 5, #KEYS do
    redis.call('XADD', KEYS[i], '*', 'order', ARGV[5], 'number', ARGV[7])
end
return {1, message and redis.call('XADD', KEYS[5], '*', 'order', ARGV[5], 'message', message)}
