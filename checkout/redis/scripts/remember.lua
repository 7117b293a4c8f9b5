-- For the scripts that follow it in the same text.

-- Remembers a name in a sorted set, by the time (ms), and forgets up to two that are older than `life_ms`: the set grows by one.
local function remember(names, name, life_ms)
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    for _, forgotten in ipairs(redis.call('ZRANGE', names, 0, 1)) do
        if tonumber(redis.call('ZSCORE', names, forgotten)) <= now - life_ms then
            redis.call('ZREM', names, forgotten)
        end
    end
    redis.call('ZADD', names, now, name)
end
