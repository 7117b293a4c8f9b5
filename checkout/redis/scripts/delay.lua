#!lua flags=allow-oom
-- Keeps when an order that was put back may run again.
-- KEYS 1 order   ARGV 1 delay (ms)
-- Replies 1, or 0 if there is no such order
local status, revision = unpack(redis.call('HMGET', KEYS[1], 'status', 'revision'))
if not status then
    return 0
end
local time = redis.call('TIME')
local due = string.format('%d ', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
redis.call('HSET', KEYS[1], 'due', due .. (revision or '1'))
return 1
