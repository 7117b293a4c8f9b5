-- Adds messages for an endpoint, in order by their numbers; those that wait already stay as they are.
-- An event that a relay hands over is added only if its number is higher than the last that was handed over to the endpoint:
-- a relay that repeats events must not add one behind a later one. The number is in the record of the order, so it goes with it.
-- KEYS 1 waiting messages by order   2 orders by the time that they are due   3... the order of each message, if a relay hands them over
-- ARGV 1 life of the keys (ms)   2 field of an order with that number   3 order id   4 number, ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function add(order, number)
    local queue = redis.call('HGET', KEYS[1], order)
    local parts, is_placed = {}, false
    for part in string.gmatch(queue or '0', '%d+') do
        -- The first one counts the attempts; the numbers that follow rise.
        if #parts > 0 and not is_placed and tonumber(part) >= tonumber(number) then
            is_placed = true
            if tonumber(part) > tonumber(number) then
                parts[#parts + 1] = number
            end
        end
        parts[#parts + 1] = part
    end
    if not is_placed then
        parts[#parts + 1] = number
    end
    redis.call('HSET', KEYS[1], order, table.concat(parts, ' '))
    redis.call('ZADD', KEYS[2], 'NX', now, order)
end
for i = 3, #ARGV, 2 do
    local record = KEYS[(i + 3) / 2]
    if not record then
        add(ARGV[i], ARGV[i + 1])
    elseif tonumber(ARGV[i + 1]) > tonumber(redis.call('HGET', record, ARGV[2]) or 0) then
        add(ARGV[i], ARGV[i + 1])
        if redis.call('EXISTS', record) == 1 then
            redis.call('HSET', record, ARGV[2], ARGV[i + 1])
        end
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
