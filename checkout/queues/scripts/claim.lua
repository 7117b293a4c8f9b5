-- Claims deliveries whose visibility has ended: of dead consumers, and released ones whose delay is over.
-- Deliveries over the limit of attempts are dead-lettered instead.
--
-- KEYS  1 queue (stream)  2 dead letters (stream)
-- ARGV  1 group  2 consumer  3 visibility, ms  4 cursor  5 limit  6 maximum of deliveries
-- Reply {next cursor, {{id, body, attempt}, ...}, number of dead letters}

local queue, dead = KEYS[1], KEYS[2]
local group, consumer, max_deliveries = ARGV[1], ARGV[2], tonumber(ARGV[6])

-- XAUTOCLAIM counts a delivery of each, and drops entries that were deleted from the stream.
local reply = redis.call('XAUTOCLAIM', queue, group, consumer, ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local claimed, died = {}, 0
for _, entry in ipairs(reply[2]) do
  local id, body = entry[1], entry[2][2]
  local attempt = redis.call('XPENDING', queue, group, id, id, 1)[1][4]
  if attempt > max_deliveries then
    redis.call('XADD', dead, '*', 'body', body, 'attempts', attempt - 1, 'reason', 'its workers died or hung')
    redis.call('XACK', queue, group, id)
    redis.call('XDEL', queue, id)
    died = died + 1
  else
    claimed[#claimed + 1] = {id, body, attempt}
  end
end
return {reply[1], claimed, died}
