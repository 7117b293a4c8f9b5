-- Removes a line. ARGV 9 SKU.
local refused = refusal()
if refused then
    return refused
end
if redis.call('HDEL', CART, ARGV[9]) == 0 then
    return {'no-line', ARGV[9]}
end
return reply_changed()
