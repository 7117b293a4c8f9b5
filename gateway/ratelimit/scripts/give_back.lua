#!lua flags=allow-oom
-- Gives units back that were taken for requests which another partition refused.
-- KEYS what is limited, as in take.lua   ARGV for each the microseconds in which a unit comes back, and how many to give back
-- Replies nothing
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i = 1, #KEYS do
    local value = redis.call('GET', KEYS[i])
    if value then
        local filled, at = struct.unpack('<dd', value)
        local unit_us = tonumber(ARGV[2 * i - 1])
        local level = filled - math.max(now - at, 0) / unit_us - tonumber(ARGV[2 * i])
        if level > 0 then
            redis.call('SET', KEYS[i], struct.pack('<dd', level, now), 'PX', math.ceil(level * unit_us / 1000))
        else
            redis.call('DEL', KEYS[i])
        end
    end
end
