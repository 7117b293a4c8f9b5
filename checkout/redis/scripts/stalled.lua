#!lua flags=allow-oom
-- The orders in flight that have shown no sign of life for some time, the longest first.
-- KEYS 1 orders in flight
-- ARGV 1 that time (ms)   2 maximum number
-- Replies order ids
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Written by a server whose clock was ahead of ours: their time begins now.
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], '(' .. string.format('%d', now), '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
    redis.call('ZADD', KEYS[1], now, id)
end
return redis.call('ZRANGE', KEYS[1], '-inf', string.format('%d', now - ARGV[1]), 'BYSCORE', 'LIMIT', 0, ARGV[2])
