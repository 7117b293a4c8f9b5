-- Deletes an open cart.
local refused = refusal()
if refused then
    return refused
end
redis.call('DEL', CART)
return {'deleted'}
