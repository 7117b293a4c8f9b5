#!lua flags=allow-oom
-- Removes the consumers of workers that are gone: those with nothing pending that have not received for so long.
-- The pending deliveries of such a worker are claimed by others when their visibility ends; then its consumer has none.
--
-- KEYS  1 queue (stream)
-- ARGV  1 group  2 the consumer of the caller, which stays  3 time without a call (ms)
-- Reply the number removed

local queue, group = KEYS[1], ARGV[1]
local removed = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', queue, group)) do
  local by_name = {}
  for i = 1, #info, 2 do
    by_name[info[i]] = info[i + 1]
  end
  local name = by_name['name']
  if name ~= ARGV[2] and by_name['pending'] == 0 and by_name['idle'] >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', queue, group, name)
    removed = removed + 1
  end
end
return removed
