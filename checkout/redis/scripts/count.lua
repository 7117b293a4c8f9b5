#!lua flags=no-writes
-- How many orders some partitions have in a status, in all.
-- KEYS the sorted sets of the status
local count = 0
for _, key in ipairs(KEYS) do
    count = count + redis.call('ZCARD', key)
end
return count
