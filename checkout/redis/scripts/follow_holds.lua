#!lua flags=allow-oom
-- Reads the changes of the holds of a SKU behind a position, and with the last of them the book of the SKU, at one moment.
-- KEYS 1 product   2 holds of the SKU   3 their changes, a stream that is made here, and ends with its last reader
-- ARGV 1 position: the id of an entry, '' to begin   2 most entries   3 life of the stream (ms)
-- Replies {position} to begin, else {entries, the first of them that of the position, unless it is lost}; with the last entries
--         {entries, units for sale, imported, adjusted, sold, number of holds}, '' for what the product lacks
local reply
if ARGV[1] == '' then
    reply = {redis.call('XADD', KEYS[3], '*', '', '')}
else
    reply = {redis.call('XRANGE', KEYS[3], ARGV[1], '+', 'COUNT', ARGV[2])}
    if #reply[1] < tonumber(ARGV[2]) then
        local book = redis.call('HMGET', KEYS[1], 'stock', 'imported', 'adjusted', 'sold')
        for at = 1, 4 do
            reply[at + 1] = book[at] or ''
        end
        reply[6] = redis.call('HLEN', KEYS[2])
    end
end
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return reply
