#!lua flags=allow-oom
-- Writes to an order, so that this write is durable only when the order is.
-- KEYS 1 order   ARGV 1 the status it must have, or ''
-- Replies 1, or 0 without a change if there is no such order, or it has another status
local status = redis.call('HGET', KEYS[1], 'status')
if not status or (ARGV[1] ~= '' and status ~= ARGV[1]) then
    return 0
end
redis.call('HINCRBY', KEYS[1], 'touched', 1)
return 1
