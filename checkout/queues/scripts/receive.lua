#!lua flags=allow-oom
-- Receives from the queue and the bulk queue, from each half of the limit, or more if the other has less. From each, first
-- the deliveries whose visibility has ended, of dead consumers, and released ones whose delay is over; else new entries.
--
-- KEYS  1 queue (stream)  2 bulk queue (stream)
-- ARGV  1 group  2 consumer  3 visibility, ms  4 limit  5 the first of the streams, 1 or 2  6 cursor of the queue  7 of the bulk queue
-- Reply {cursor, cursor of the bulk queue, {{stream (1 or 2), id, fields, attempt}, ...}}

local group, consumer, limit = ARGV[1], ARGV[2], tonumber(ARGV[4])
local cursors, received = {ARGV[6], ARGV[7]}, {}

local function claim(stream, most)
  local claimed = 0
  -- A call looks at ten times its count. Many deliveries may be delayed: look further, but do not hold up the server.
  for _ = 1, 40 do
    -- XAUTOCLAIM counts a delivery of each, and drops entries that were deleted from the stream.
    local reply = redis.call(
      'XAUTOCLAIM', KEYS[stream], group, consumer, ARGV[3], cursors[stream], 'COUNT', most - claimed
    )
    cursors[stream] = reply[1]
    for _, entry in ipairs(reply[2]) do
      local id = entry[1]
      local attempt = redis.call('XPENDING', KEYS[stream], group, id, id, 1)[1][4]
      received[#received + 1] = {stream, id, entry[2], attempt}
      claimed = claimed + 1
    end
    if cursors[stream] == '0-0' or claimed >= most then
      break
    end
  end
  return claimed
end

local function read(stream, most)
  local reply = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', most, 'STREAMS', KEYS[stream], '>')
  if not reply then
    return 0
  end
  for _, entry in ipairs(reply[1][2]) do
    received[#received + 1] = {stream, entry[1], entry[2], 1}
  end
  return #reply[1][2]
end

local function take(stream, most)
  if most < 1 then
    return 0
  end
  local taken = claim(stream, most)
  return taken > 0 and taken or read(stream, most)
end

local first = tonumber(ARGV[5])
local share = math.ceil(limit / 2)
local taken = take(first, share)
take(3 - first, limit - #received)
if taken == share then
  take(first, limit - #received)
end
return {cursors[1], cursors[2], received}
