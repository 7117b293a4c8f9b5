#!lua flags=allow-oom
-- Allows one probe of an endpoint that is down, and sets the time of the next.
-- KEYS 1 endpoint   ARGV 1 time between two probes (ms)   Replies 1 or 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'probe', 'paused', 'disabled')
if not held[1] or held[3] or now < math.max(tonumber(held[1]), tonumber(held[2] or 0)) then
    return 0
end
redis.call('HSET', KEYS[1], 'probe', string.format('%d', now + ARGV[1]))
return 1
