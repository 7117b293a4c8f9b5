#!lua flags=no-writes
-- Those of some orders that have a record, and that no list of their partition names.
-- KEYS 1 orders that need attention   2... number of lists: the lists of statuses, orders in flight, ended orders; then the orders
-- ARGV 1 number of lists   2... order ids
local lists = tonumber(ARGV[1])
local unlisted = {}
for i = 2, #ARGV do
    local id = ARGV[i]
    local is_listed = redis.call('HEXISTS', KEYS[1], id) == 1
    for list = 2, lists + 1 do
        is_listed = is_listed or redis.call('ZSCORE', KEYS[list], id)
    end
    if not is_listed and redis.call('EXISTS', KEYS[lists + i]) == 1 then
        unlisted[#unlisted + 1] = id
    end
end
return unlisted
