#!lua flags=allow-oom
-- Sets when deliveries become visible again: later, to extend them, or after the delay of a release.
--
-- KEYS  1 stream of the entries
-- ARGV  1 group  2 consumer  3 new idle time, ms (visibility less delay)  4... entry ids
-- Reply the number that this consumer still holds; the others are acknowledged, or claimed by another worker

local queue, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local held = 0
for i = 4, #ARGV do
  local pending = redis.call('XPENDING', queue, group, ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == consumer then
    redis.call('XCLAIM', queue, group, consumer, 0, ARGV[i], 'IDLE', ARGV[3], 'JUSTID')
    held = held + 1
  end
end
return held
