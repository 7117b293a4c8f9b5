#!lua flags=allow-oom
-- Removes a leased message, or lets it be due later.
-- KEYS 1 waiting messages by order   2 orders by the time that they are due
-- ARGV 1 order id   2 number   3 lease   4 delay (ms), or '' to remove it   5 attempts to add
-- Replies 1, or 0 without a change if the lease has ended
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[3] then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
local attempts, numbers = string.match(queue, '^(%d+)(.*)$')
if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[1], ARGV[1], attempts + ARGV[5] .. numbers)
    redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
    return 1
end
local parts = {'0'}
for number in string.gmatch(numbers, '%d+') do
    if number ~= ARGV[2] then
        parts[#parts + 1] = number
    end
end
if #parts > 1 then
    redis.call('HSET', KEYS[1], ARGV[1], table.concat(parts, ' '))
    redis.call('ZADD', KEYS[2], now, ARGV[1])
else
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
