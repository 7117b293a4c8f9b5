-- Holds the units of a cart's line; those that it has already stay where there are too few for all.
-- KEYS 1 product   2 holds of the SKU   3 changes of these holds   4 carts with holds: a sorted set by the end of the hold (ms)
-- ARGV 1 name of the cart's hold   2 units of the line, '' for those that it holds   3 name of the hold of a cart that was merged into
--      it, or ''   4 '1' to extend the hold, once
-- Replies {units, 1 if this has extended it}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stock, life, most = unpack(redis.call('HMGET', KEYS[1], 'stock', 'hold_at_cart', 'per_shopper'))
local function read(name)
    local quantity, expires, extended = string.match(redis.call('HGET', KEYS[2], name) or '', '^(%d+) (%d+) (%d+)$')
    if quantity and tonumber(expires) > now then
        return tonumber(quantity), tonumber(expires), tonumber(extended)
    end
    return 0, 0, 0, tonumber(quantity or 0)
end
local function remove(name)
    redis.call('ZREM', KEYS[4], name)
    if redis.call('HDEL', KEYS[2], name) == 1 then
        note(KEYS[3], name, '')
    end
end
local units, expires, extended, outdated = read(ARGV[1])
local free = tonumber(stock or 0) + (outdated or 0)
if ARGV[3] ~= '' then
    local more, later, was_extended = read(ARGV[3])
    if more > 0 then
        remove(ARGV[3])
        units, expires, extended = units + more, math.max(expires, later), math.max(extended, was_extended)
    end
end
local wanted = life and tonumber(ARGV[2] ~= '' and ARGV[2] or units) or 0
-- No more than one shopper may order.
wanted = math.min(wanted, tonumber(most or wanted))
if wanted - units > free then
    wanted = units
end
free = free + units - wanted
if stock and free ~= tonumber(stock) then
    redis.call('HSET', KEYS[1], 'stock', string.format('%d', free))
    if free > tonumber(stock) then
        redis.call('SPUBLISH', KEYS[1], '')
    end
end
if wanted == 0 then
    remove(ARGV[1])
    return {0, 0}
end
local extends = ARGV[4] == '1' and extended == 0
if expires == 0 then
    expires = now + life * 1000
elseif extends then
    expires, extended = expires + life * 1000, 1
end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%d %d %d', wanted, expires, extended))
redis.call('ZADD', KEYS[4], expires, ARGV[1])
note(KEYS[3], ARGV[1], wanted)
return {wanted, extends and 1 or 0}
