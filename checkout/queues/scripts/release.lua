-- Delivers again after a delay, or dead-letters a delivery at its last attempt.
--
-- KEYS  1 queue (stream)  2 dead letters (stream)
-- ARGV  1 group  2 consumer  3 entry id  4 new idle time, ms (visibility less delay)  5 maximum of deliveries  6 reason
-- Reply 1 if it was dead-lettered, else 0

local queue, dead = KEYS[1], KEYS[2]
local group, consumer, id = ARGV[1], ARGV[2], ARGV[3]

local pending = redis.call('XPENDING', queue, group, id, id, 1)[1]
-- Acknowledged or claimed by another worker meanwhile.
if not pending or pending[2] ~= consumer then
  return 0
end

local attempt = pending[4]
if attempt < tonumber(ARGV[5]) then
  redis.call('XCLAIM', queue, group, consumer, 0, id, 'IDLE', ARGV[4], 'JUSTID')
  return 0
end

local entry = redis.call('XRANGE', queue, id, id)[1]
if entry then
  redis.call('XADD', dead, '*', 'body', entry[2][2], 'attempts', attempt, 'reason', ARGV[6])
end
redis.call('XACK', queue, group, id)
redis.call('XDEL', queue, id)
return 1
