#!lua flags=no-writes
-- Reads what a partition says of some orders, at one moment.
-- KEYS 1 orders in flight   2 ended orders   3 orders that need attention   4... the lists of statuses, then the orders
-- ARGV 1 number of statuses   2... order ids
-- Replies the time (ms), then for each order {doc, state, facts, status, aside, lease, time of its last sign of life,
--         time of its end, attention, the numbers of the statuses that list it}
local time = redis.call('TIME')
local statuses = tonumber(ARGV[1])
local replies = {time[1] * 1000 + math.floor(time[2] / 1000)}
for i = 2, #ARGV do
    local id = ARGV[i]
    local entry = redis.call('HMGET', KEYS[statuses + i + 2], 'doc', 'state', 'facts', 'status', 'aside', 'lease')
    entry[7] = redis.call('ZSCORE', KEYS[1], id)
    entry[8] = redis.call('ZSCORE', KEYS[2], id)
    entry[9] = redis.call('HGET', KEYS[3], id)
    local listed = {}
    for status = 1, statuses do
        if redis.call('ZSCORE', KEYS[status + 3], id) then
            listed[#listed + 1] = status
        end
    end
    entry[10] = listed
    replies[i] = entry
end
return replies
