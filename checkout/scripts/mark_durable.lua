-- Notes that an order is as durable as was promised: from now on it cannot be retracted.
-- KEYS 1 order   Replies 1, or 0 if it was retracted before
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[1], 'durable', '1')
return 1
