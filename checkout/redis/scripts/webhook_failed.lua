#!lua flags=allow-oom
-- Notes that an endpoint has failed, which may find it down or disable it.
-- KEYS 1 endpoint
-- ARGV 1 order id   2 pause (ms)   3 '1' if it is gone   4 failures of different orders after which it is down
--      5 time between two probes (ms)   6 time of failing after which it is disabled (ms)   7 break in it (ms)
-- Replies the reason if this has disabled it
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'failures', 'order', 'since', 'last', 'probe', 'paused', 'disabled')
local failures, since, last = tonumber(held[1] or 0), tonumber(held[3]), tonumber(held[4])
if not since or now - last > tonumber(ARGV[7]) then
    since = now
end
if held[2] ~= ARGV[1] then
    failures = failures + 1
end
local fields = {'failures', failures, 'order', ARGV[1], 'since', string.format('%d', since), 'last', string.format('%d', now)}
if failures >= tonumber(ARGV[4]) and not held[5] then
    fields[#fields + 1] = 'probe'
    fields[#fields + 1] = string.format('%d', now + ARGV[5])
end
if tonumber(ARGV[2]) > 0 then
    fields[#fields + 1] = 'paused'
    fields[#fields + 1] = string.format('%d', math.max(now + ARGV[2], tonumber(held[6] or 0)))
end
local reason
if not held[7] then
    reason = ARGV[3] == '1' and 'gone' or (now - since >= tonumber(ARGV[6]) and 'failing')
    if reason then
        fields[#fields + 1] = 'disabled'
        fields[#fields + 1] = reason
        fields[#fields + 1] = 'at'
        fields[#fields + 1] = string.format('%d', now)
    end
end
redis.call('HSET', KEYS[1], unpack(fields))
return reason
