-- Delivers again after a delay, without counting this delivery.
--
-- KEYS  1 queue (stream)
-- ARGV  1 group  2 consumer  3 entry id  4 new idle time, ms (visibility less delay)
-- Reply 1 if it was deferred, 0 if this consumer no longer holds it

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
-- Acknowledged or claimed by another worker meanwhile.
if not pending or pending[2] ~= ARGV[2] then
  return 0
end

local before = math.max(pending[4] - 1, 0)
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'RETRYCOUNT', before, 'JUSTID')
return 1
