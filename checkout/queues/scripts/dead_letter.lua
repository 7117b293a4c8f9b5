#!lua flags=allow-oom
-- Moves a delivery to the dead letters.
--
-- KEYS  1 stream of the entry  2 dead letters (stream)  3 sizes of groups (hash)
-- ARGV  1 consumer group  2 consumer  3 entry id  4 reason  5 group of the message
-- Reply 1 if it was moved, 0 if this consumer no longer holds it

local queue, dead = KEYS[1], KEYS[2]
local group, consumer, id = ARGV[1], ARGV[2], ARGV[3]

local pending = redis.call('XPENDING', queue, group, id, id, 1)[1]
-- Acknowledged or claimed by another worker meanwhile.
if not pending or pending[2] ~= consumer then
  return 0
end

local entry = redis.call('XRANGE', queue, id, id)[1]
if entry then
  redis.call('XADD', dead, '*', 'body', entry[2][2], 'attempts', pending[4], 'reason', ARGV[4])
  if ARGV[5] ~= '' and redis.call('HINCRBY', KEYS[3], ARGV[5], -1) <= 0 then
    redis.call('HDEL', KEYS[3], ARGV[5])
  end
end
redis.call('XACK', queue, group, id)
redis.call('XDEL', queue, id)
return 1
