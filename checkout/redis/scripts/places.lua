#!lua flags=no-writes
-- The orders of a shopper behind a place in their list, the latest first.
-- KEYS 1 orders of the shopper   ARGV 1 maximum number   2 time of the place (ms), or ''   3 order id of the place
-- Replies {order id, time, ...}
local places, at, left = {}, '+inf', tonumber(ARGV[1])
if ARGV[2] ~= '' then
    -- Orders of the same time are in the sequence of their ids, the last first.
    for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2], 'BYSCORE', 'REV')) do
        if id < ARGV[3] and left > 0 then
            places[#places + 1] = id
            places[#places + 1] = ARGV[2]
            left = left - 1
        end
    end
    at = '(' .. ARGV[2]
end
for _, part in ipairs(redis.call('ZRANGE', KEYS[1], at, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, left, 'WITHSCORES')) do
    places[#places + 1] = part
end
return places
