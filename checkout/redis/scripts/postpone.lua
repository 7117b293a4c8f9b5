#!lua flags=allow-oom
-- Keeps an ended order for as long again; one that the store does not have is none of them any more.
-- KEYS 1 order   2 ended orders   ARGV 1 order id   Replies 1 if the store has the order, else 0
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 0
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'XX', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
return 1
