#!lua flags=no-writes
-- The books of a SKU, at one moment.
-- KEYS 1 product   2 holds of the SKU   ARGV 1 most holds that are added up
-- Replies {units for sale, imported, adjusted, sold, held}, '' for what the product lacks, and for held of too many holds
local book = redis.call('HMGET', KEYS[1], 'stock', 'imported', 'adjusted', 'sold')
local held = ''
if redis.call('HLEN', KEYS[2]) <= tonumber(ARGV[1]) then
    held = 0
    for at, field in ipairs(redis.call('HGETALL', KEYS[2])) do
        held = held + (at % 2 == 0 and string.match(field, '^%d+') or 0)
    end
end
return {book[1] or '', book[2] or '', book[3] or '', book[4] or '', tostring(held)}
