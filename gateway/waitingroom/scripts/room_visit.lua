-- A shopper requests admission: admit them, return their position, or give them a place.
-- ARGV[5]: their place id, or empty; ARGV[6]: an id for a new place; ARGV[7]: the maximum number waiting.
local place_id, new_place_id, max_waiting = ARGV[5], ARGV[6], tonumber(ARGV[7])
local grace_ends = grace_until()
local id, place = place_id, false

if place_id ~= '' and not redis.call('ZSCORE', active, place_id) then
  place = redis.call('ZSCORE', waiting, place_id)
  if place then
    -- Not on every call: a write costs a flush to disk.
    local seen_at = tonumber(redis.call('ZSCORE', seen, place_id)) or 0
    if now - seen_at > away_ms / 4 then
      redis.call('ZADD', seen, now, place_id)
      expires(seen)
    end
  else
    place_id = ''
  end
end

sweep(grace_ends, WORK)

local per_s, max_active = limits()

-- How many may still come in before one must leave; and the admission rate: as measured once the room is full.
local function pace()
  local free = math.max(0, max_active - redis.call('ZCARD', active))
  local measured = free == 0 and redis.call('HGET', state, 'measured')
  return free, measured or tostring(per_s)
end

if place_id == '' then
  if redis.call('ZCARD', waiting) >= max_waiting then
    return {'full', '', 0, 0, -1, tostring(per_s), 0, '-1', now}
  end
  id = new_place_id
  place = redis.call('HINCRBY', state, 'arrived', 1)
  redis.call('ZADD', waiting, place, id)
  redis.call('ZADD', seen, now, id)
  expires(waiting)
  expires(seen)
end

admit(grace_ends, WORK)

if redis.call('ZSCORE', active, id) then
  redis.call('ZADD', active, now + session_ms, id)
  return {'admitted', id, tonumber(place) or 0, 0, -1, tostring(per_s), 0, '-1', now}
end

local spare = -1
local stock = redis.call('HMGET', state, 'stock', 'stock_before')
if stock[1] then
  -- The better of the last two readings: an order on its way has taken its units, but is not yet known to be of this session.
  local units = math.max(tonumber(stock[1]), tonumber(stock[2] or stock[1]))
  spare = math.max(0, units - outstanding())
end
local free, rate = pace()
local leaving = redis.call('HGET', state, 'leaving') or '-1'
return {'waiting', id, tonumber(place), redis.call('ZRANK', waiting, id), spare, rate, free, leaving, now}
