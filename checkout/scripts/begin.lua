-- Claims a cart for one checkout, and notes what that checkout may come to hold until it tells its end.
-- KEYS 1 cart   2 claim   3 claims that have not told their end   4 fence of the partition
-- ARGV 1 token of the claim   2 how long the claim is good for (ms)   3 who asks, or ''   4 cart id
-- Replies {'claimed', fence, whether an earlier claim of this version may hold stock, fields} {'ordered', order id}
--         {'not-found'} {'merged'} {'merging'} {'in-progress'}: nothing is claimed
local held = redis.call('HMGET', KEYS[1], '\1v', '\1s', '\1w', '\1o')
local version, status, owner, order_id = held[1], held[2], held[3], held[4]
if not version or (owner and owner ~= ARGV[3]) then
    return {'not-found'}
end
if status then
    return {status, order_id}
end
local claim = redis.call('GET', KEYS[2])
if claim and string.match(claim, '^%S+') ~= ARGV[1] then
    return {'in-progress'}
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. version, 'PX', ARGV[2])

-- Fields of the cart that are no lines begin with U+0001; SKUs are printable, so a line break parts them.
local fields = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local note = {time[1] * 1000 + math.floor(time[2] / 1000)}
for i = 1, #fields, 2 do
    if string.byte(fields[i]) ~= 1 then
        note[#note + 1] = fields[i]
    end
end
local is_first = redis.call('HSET', KEYS[3], ARGV[4] .. ' ' .. version, table.concat(note, '\n'))
return {'claimed', redis.call('INCR', KEYS[4]), 1 - is_first, fields}
