#!lua flags=allow-oom
-- Appends messages to the queue, or to the bulk queue if the group of a message has many in both. They are accepted orders,
-- and leave the outbox in return.
--
-- KEYS  1 queue (stream)  2 bulk queue (stream)  3 sizes of groups (hash)
-- ARGV  1 the most messages of a group before its next ones are bulk  2... body, group, ...
-- Reply the number of messages

local most = tonumber(ARGV[1])
-- A gateway of an earlier version that shares the store removes messages without counting them.
if redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[3])
end
for i = 2, #ARGV, 2 do
  local body, group = ARGV[i], ARGV[i + 1]
  if group == '' then
    redis.call('XADD', KEYS[1], '*', 'body', body)
  else
    local size = redis.call('HINCRBY', KEYS[3], group, 1)
    redis.call('XADD', size > most and KEYS[2] or KEYS[1], '*', 'body', body, 'group', group)
  end
end
return (#ARGV - 1) / 2
