#!lua flags=allow-oom
-- Deletes an order that has ended, and is in the archive.
-- KEYS 1 order   2 orders in flight   3 ended orders   4 orders in its status
-- ARGV 1 order id   2 its revision in the archive   3 its status there
-- Replies 1, or 0 without a change of the order
local held = redis.call('HMGET', KEYS[1], 'status', 'revision', 'facts', 'aside', 'lease')
local status, revision, facts, aside, lease = held[1], held[2], held[3], held[4], held[5]
if not status then
    redis.call('ZREM', KEYS[3], ARGV[1])
    return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_leased = lease and tonumber(string.match(lease, '%d+$')) > now
local has_changed = status ~= ARGV[3] or (revision and revision ~= ARGV[2])
if has_changed or facts or aside or is_leased or redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    -- Its next run ends later; an order in which nothing happens any more is looked at again after as long.
    redis.call('ZADD', KEYS[3], 'XX', now, ARGV[1])
    return 0
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
