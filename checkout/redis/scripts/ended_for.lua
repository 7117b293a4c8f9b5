#!lua flags=no-writes
-- The orders that ended some time ago, the longest first.
-- KEYS 1 ended orders   ARGV 1 that time (ms)   2 maximum number
-- Replies order ids
local time = redis.call('TIME')
local before = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
return redis.call('ZRANGE', KEYS[1], '-inf', string.format('%d', before), 'BYSCORE', 'LIMIT', 0, ARGV[2])
