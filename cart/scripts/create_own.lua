-- Stores a new cart as the own cart of a shopper, unless another process was first.
-- KEYS 1 the id of the shopper's own cart   2 the new cart
-- ARGV 1 the id that was read there, or ''   2 the id of the new cart   3 lifetime of the note (ms)   4 lifetime of the cart (ms)
--      5... its fields and their values
-- Replies the id of the shopper's own cart now
local id = redis.call('GET', KEYS[1]) or ''
if id ~= ARGV[1] then
    return id
end
redis.call('HSET', KEYS[2], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
