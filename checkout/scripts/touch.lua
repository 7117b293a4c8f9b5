-- Writes to an order, so that this write is durable only when the order is.
-- KEYS 1 order
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'touched', 1)
end
return 1
