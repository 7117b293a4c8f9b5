-- Removes a line. ARGS 3 SKU.
local refused = refusal()
if refused then
    return refused
end
if redis.call('HDEL', CART, ARGS[3]) == 0 then
    return {'no-line', ARGS[3]}
end
return reply_changed()
