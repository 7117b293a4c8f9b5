#!lua flags=allow-oom
-- Ends the flight of an order that has ended. It stays in flight if it has changed since, or has facts to apply.
-- KEYS 1 order   2 orders in flight   3 ended orders
-- ARGV 1 order id   2 status   3 revision
-- Replies 1, 2 if it stays in flight, or 0 without a change if the server has lost the last change
local held = redis.call('HMGET', KEYS[1], 'status', 'revision', 'facts')
local status, revision, facts = held[1], tonumber(held[2]), held[3]
if revision and revision ~= tonumber(ARGV[3]) then
    local state = redis.call('HGET', KEYS[1], 'state')
    -- A worker of an earlier release, which stores no revision, has moved the order on since.
    if state and not string.find(state, '"revision":', 1, true) then
        redis.call('HDEL', KEYS[1], 'revision')
        revision = nil
    end
end
local is_same = status == ARGV[2] and (not revision or revision == tonumber(ARGV[3]))
if not is_same and (not revision or revision <= tonumber(ARGV[3])) then
    return 0
end
if is_same and not facts then
    redis.call('ZREM', KEYS[2], ARGV[1])
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
end
-- A write for each call: only then is this write durable when the change is. It ended, so it is never rolled back.
redis.call('HSET', KEYS[1], 'durable', '1')
return is_same and not facts and 1 or 2
