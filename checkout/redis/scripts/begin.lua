-- Claims a cart and an idempotency key for one checkout, and records the claim as open, with the SKUs of the cart.
-- KEYS 1 cart   2 claim   3 open claims   4 fence of the partition
-- ARGV 1 token of the claim   2 lifetime of the claim (ms)   3 signed-in shopper, or ''   4 cart id
--      5 hash of the idempotency key   6 fingerprint of the body   7... SKUs that are short, each with its units left
-- Replies {'claimed', fence, 1 if an earlier claim of this version may have holds, fields} {'ordered', order id}
--         {'not-found'} {'merged'} {'merging'} {'in-progress'} {'reused'} {'short', SKU, quantity, units left, ...}: nothing is claimed
local held = redis.call('HMGET', KEYS[1], '\1v', '\1s', '\1w', '\1o')
local version, status, owner, order_id = held[1], held[2], held[3], held[4]
if not version or (owner and owner ~= ARGV[3]) then
    return {'not-found'}
end
if status then
    return {status, order_id}
end
local claim = redis.call('GET', KEYS[2])
local token, _, key, body = string.match(claim or '', '^(%S+) (%S+) (%S+) (%S+)$')
if claim and token ~= ARGV[1] then
    return {key == ARGV[5] and body ~= ARGV[6] and 'reused' or 'in-progress'}
end
-- A checkout that was interrupted may hold the units that are missing.
if #ARGV > 6 and redis.call('HEXISTS', KEYS[3], ARGV[4] .. ' ' .. version) == 0 then
    local skus, short = {}, {'short'}
    for i = 7, #ARGV, 2 do
        skus[#skus + 1] = ARGV[i]
    end
    for i, line in ipairs(redis.call('HMGET', KEYS[1], unpack(skus))) do
        local quantity = line and tonumber(string.match(line, '^%d+')) % 2 ^ 20
        if quantity and quantity > tonumber(ARGV[6 + 2 * i]) then
            short[#short + 1] = skus[i]
            short[#short + 1] = quantity
            short[#short + 1] = tonumber(ARGV[6 + 2 * i])
        end
    end
    if #short > 1 then
        return short
    end
end
redis.call('SET', KEYS[2], table.concat({ARGV[1], version, ARGV[5], ARGV[6]}, ' '), 'PX', ARGV[2])

-- Fields of the cart that are not lines begin with U+0001. SKUs are printable, so a line break separates them.
local fields = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local record = {time[1] * 1000 + math.floor(time[2] / 1000)}
for i = 1, #fields, 2 do
    if string.byte(fields[i]) ~= 1 then
        record[#record + 1] = fields[i]
    end
end
local is_first = redis.call('HSET', KEYS[3], ARGV[4] .. ' ' .. version, table.concat(record, '\n'))
return {'claimed', redis.call('INCR', KEYS[4]), 1 - is_first, fields}
