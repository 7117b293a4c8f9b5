#!lua flags=allow-oom
-- Removes entries from their stream and from those that are pending. One script: an entry that is acknowledged and not deleted
-- would be the oldest of the queue for good.
--
-- KEYS  1 queue (stream)  2 bulk queue (stream)  3 sizes of groups (hash)
-- ARGV  1 consumer group  2... stream (1 or 2), entry id, group of the message, ...
-- Reply the number of entries that were there

local removed = 0
for i = 2, #ARGV, 3 do
  local stream, id, group = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  redis.call('XACK', stream, ARGV[1], id)
  if redis.call('XDEL', stream, id) == 1 then
    removed = removed + 1
    if group ~= '' and redis.call('HINCRBY', KEYS[3], group, -1) <= 0 then
      redis.call('HDEL', KEYS[3], group)
    end
  end
end
return removed
