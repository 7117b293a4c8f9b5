#!lua flags=no-writes
-- The oldest entries of some outboxes.
-- KEYS outboxes   ARGV 1 how many of each
-- Replies for each outbox its entries, as XRANGE does
local entries = {}
for i, key in ipairs(KEYS) do
    entries[i] = redis.call('XRANGE', key, '-', '+', 'COUNT', ARGV[1])
end
return entries
