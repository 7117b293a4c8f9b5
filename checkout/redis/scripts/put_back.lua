#!lua flags=allow-oom
-- Ends the lease of an order, and counts why it is put back.
-- KEYS 1 order
-- ARGV 1 holder   2 '1' after a failure of the order   3 '1' after a run in which a service gave no response
-- Replies {failures, runs without a response in this status, ms since the first of them, status}
--         nil, and counts nothing, if another holder has the lease, or there is no such order
local status, lease, unanswered, failures = unpack(redis.call('HMGET', KEYS[1], 'status', 'lease', 'unanswered', 'failures'))
if not status or (lease and string.match(lease, '^%S+') ~= ARGV[1]) then
    return false
end
redis.call('HDEL', KEYS[1], 'lease')
if ARGV[2] == '1' then
    failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since, runs, at
if unanswered then
    since, runs, at = string.match(unanswered, '^(%d+) (%d+) (%S+)$')
end
if at ~= status then
    since, runs = now, 0
end
if ARGV[3] == '1' then
    runs = runs + 1
    redis.call('HSET', KEYS[1], 'unanswered', string.format('%d %d ', since, runs) .. status)
end
return {tonumber(failures or 0), tonumber(runs), now - since, status}
