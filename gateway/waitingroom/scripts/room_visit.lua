-- A shopper asks: admit him, tell him his place, or give him one.
-- ARGV[5]: the place id he holds, or empty; ARGV[6]: an id for a new place; ARGV[7]: how many may wait.
local held, fresh, waiting_most = ARGV[5], ARGV[6], tonumber(ARGV[7])
local kept = kept_until()
local id, place = held, false

if held ~= '' and not redis.call('ZSCORE', active, held) then
  place = redis.call('ZSCORE', waiting, held)
  if place then
    -- Not at every call: a write costs a flush to disk.
    local heard_at = tonumber(redis.call('ZSCORE', seen, held)) or 0
    if now - heard_at > away_ms / 4 then
      redis.call('ZADD', seen, now, held)
    end
  else
    held = ''
  end
end

sweep(kept, WORK)

local function per_s_now()
  return redis.call('HGET', state, 'measured') or tostring((limits()))
end

if held == '' then
  if redis.call('ZCARD', waiting) >= waiting_most then
    return {'full', '', 0, 0, -1, per_s_now()}
  end
  id = fresh
  place = redis.call('HINCRBY', state, 'arrived', 1)
  redis.call('ZADD', waiting, place, id)
  redis.call('ZADD', seen, now, id)
end

admit(kept, WORK)

if redis.call('ZSCORE', active, id) then
  redis.call('ZADD', active, now + session_ms, id)
  return {'admitted', id, tonumber(place) or 0, 0, -1, per_s_now()}
end

local spare = -1
local stock = redis.call('HMGET', state, 'stock', 'stock_before')
if stock[1] then
  -- The better of the last two readings: an order on its way has taken its units, but is not yet known to be this shopper's.
  local units = math.max(tonumber(stock[1]), tonumber(stock[2] or stock[1]))
  spare = math.max(0, units - outstanding())
end
return {'waiting', id, tonumber(place), redis.call('ZRANK', waiting, id), spare, per_s_now()}
