-- Deletes an open cart.
if WRITE.key and not version and done_before() == string.sub(WRITE.key, HALF + 1) then
    return {'deleted'}
end
local refused = refusal()
if refused then
    return refused
end
redis.call('DEL', CART)
if WRITE.key then
    record_key()
end
return {'deleted'}
