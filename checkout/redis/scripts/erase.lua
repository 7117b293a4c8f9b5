#!lua flags=allow-oom
-- Replaces the document of an order that has ended by one without personal data.
-- KEYS 1 order   2 orders in flight   3 the session of an agent that placed it
-- ARGV 1 order id   2 its revision   3 the document that was read   4 the new one   5 its state at that revision, '' if it stays
-- Replies 1, or 0 without a change: it is in flight, has facts to apply, or has changed
local held = redis.call('HMGET', KEYS[1], 'doc', 'revision', 'facts', 'lease')
local doc, revision, facts, lease = held[1], held[2], held[3], held[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_leased = lease and tonumber(string.match(lease, '%d+$')) > now
local has_changed = doc ~= ARGV[3] or (revision and revision ~= ARGV[2])
if has_changed or facts or is_leased or redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    return 0
end
-- The fingerprint is a hash of the request, address and all; the key may be a text of the shopper's.
redis.call('HSET', KEYS[1], 'doc', ARGV[4], 'key', '', 'body', '')
redis.call('DEL', KEYS[3])
if ARGV[5] ~= '' then
    redis.call('HSET', KEYS[1], 'state', ARGV[5])
end
return 1
