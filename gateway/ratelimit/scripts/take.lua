-- For each request, in order: take a unit from every limit it is under, or from none of them (gateway/ratelimit/gcra.py).
-- KEYS: what is limited, a key for each limit and caller. Its value is the level in units and when it was that, in microseconds.
-- ARGV: for each limit the microseconds in which a unit comes back, how many may be taken at once, and 1 where it is a
--   shadow, which refuses nobody; at the end, as numbers of two bytes, the low one first: how many asks there are; the limit
--   of each key; for each ask how many keys it has, and which; for each request the ask that it is one of. All count from 1.
-- Replies how many requests of each ask were granted, always its first ones; then of each key how many units are left; the
--   microseconds until there is one more; how many requests it refused, or alone would have if it were no shadow.
-- Its locals of library functions save a third of its time.
local call, byte, pack, unpacked = redis.call, string.byte, struct.pack, struct.unpack
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local slack = 1e-6
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local shape, place = ARGV[#ARGV], -1
local function number()
  place = place + 2
  local low, high = byte(shape, place, place + 1)
  return low + 256 * high
end

local asks, count = number(), #KEYS
local stored = call('MGET', unpack(KEYS))
local interval, burst, shadow, level, left, taken, short = {}, {}, {}, {}, {}, {}, {}
for key = 1, count do
  local limit = number() * 3
  local unit_us, units, filled = tonumber(ARGV[limit - 2]), tonumber(ARGV[limit - 1]), 0
  local value = stored[key]
  if value then
    local then_filled, at = unpacked('<dd', value)
    -- A limit that was lowered since is used up, no more.
    filled = max(min(then_filled, units + slack) - max(now - at, 0) / unit_us, 0)
  end
  interval[key], burst[key], shadow[key], level[key] = unit_us, units, ARGV[limit] == '1', filled
  left[key], taken[key], short[key] = max(floor(units - filled + slack), 0), 0, 0
end

local keys_of, reply = {}, {}
for ask = 1, asks do
  local keys = {}
  for i = 1, number() do keys[i] = number() end
  keys_of[ask], reply[ask] = keys, 0
end

local size = #shape
while place + 2 < size do
  local ask = number()
  local keys, passes = keys_of[ask], true
  for i = 1, #keys do
    local key = keys[i]
    if left[key] < 1 and not shadow[key] then
      short[key] = short[key] + 1
      passes = false
    end
  end
  if passes then
    reply[ask] = reply[ask] + 1
    for i = 1, #keys do
      local key = keys[i]
      if left[key] > 0 then
        left[key], taken[key] = left[key] - 1, taken[key] + 1
      else
        short[key] = short[key] + 1
      end
    end
  end
end

for key = 1, count do
  local unit_us, units, filled, free = interval[key], burst[key], level[key] + taken[key], left[key]
  if taken[key] > 0 then
    -- It is forgotten once it is as good as new.
    call('SET', KEYS[key], pack('<dd', filled, now), 'PX', ceil(filled * unit_us / 1000))
  end
  local wait = 0
  if free < units then wait = ceil((filled - (units - free - 1) - slack / 2) * unit_us) end
  reply[asks + key], reply[asks + count + key], reply[asks + 2 * count + key] = free, wait, short[key]
end
return reply
