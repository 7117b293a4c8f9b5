#!lua flags=no-writes
-- The products that are ordered most of late. KEYS[1] the sorted set; ARGV the half-life in seconds, the least weight that counts
-- (1 is an order of this moment), and the number of products at most. See trend.lua for the scores.
local time = redis.call('TIME')
local least = (time[1] + time[2] / 1e6) / ARGV[1] + math.log(ARGV[2]) / math.log(2)
return redis.call('ZRANGE', KEYS[1], '+inf', string.format('%.17g', least), 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[3])
