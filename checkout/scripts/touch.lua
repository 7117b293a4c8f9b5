-- Writes something about an order, so that waiting for this write to be durable is waiting for the order to be.
-- KEYS 1 order
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'asked', 1)
end
return 1
