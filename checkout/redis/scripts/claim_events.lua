#!lua flags=allow-oom
-- Deletes events that a sink has taken, claims the partition of its outbox, and reads the next ones.
-- KEYS 1 events   2 claim
-- ARGV 1 holder   2 life of the claim (ms)   3 number of entries to read   4 entry behind which to read, or ''   5... entries to delete
-- Replies the entries; none, and no claim, if there are none; nil if another holder has the claim
if #ARGV > 4 then
    redis.call('XDEL', KEYS[1], unpack(ARGV, 5))
end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then
    return false
end
local start = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local entries = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', ARGV[3])
if #entries > 0 then
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
elseif holder then
    redis.call('DEL', KEYS[2])
end
return entries
