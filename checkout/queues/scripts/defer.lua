-- Let a delivery come again after a delay, without counting that it came.
--
-- KEYS  1 queue (stream)
-- ARGV  1 group  2 consumer  3 entry id  4 idle time to give it, ms (visibility less delay)
-- Reply 1 if it was deferred, 0 if it is no longer this consumer's

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
-- Done by another worker meanwhile, or claimed by one that works on it now.
if not pending or pending[2] ~= ARGV[2] then
  return 0
end

local before = math.max(pending[4] - 1, 0)
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'RETRYCOUNT', before, 'JUSTID')
return 1
