#!lua flags=allow-oom
-- Marks an order as durable, so that it cannot be rolled back.
-- KEYS 1 order   Replies 1, or 0 if it was rolled back before
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[1], 'durable', '1')
return 1
