-- What the scripts of a room have in common; it stands before each of them.
-- KEYS: state (hash); waiting (place ids by number); seen (those who wait, by when last heard of); active (place ids by the
-- end of their session); bought (those of the active who have ordered).
-- ARGV: admitted a second, active at most, ms away until a place is given up, ms until a session ends; then the script's own.
-- All times are the server's, in ms, so that gateways need not agree on theirs.
local state, waiting, seen, active, bought = unpack(KEYS)
local away_ms, session_ms = tonumber(ARGV[3]), tonumber(ARGV[4])

-- No call of a shopper does more than this much of what has piled up, and no call of a keeper more than that.
local WORK, KEEPERS_WORK = 100, 1000
-- A room that nobody heard of for so long was cut off: the shoppers could not ask, so nobody is away.
local SILENT_MS, FORGOTTEN_MS = 5000, 900000
-- A factor that is not renewed is nobody's.
local STALE_MS = 10000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function number(field)
  return tonumber(redis.call('HGET', state, field))
end

-- Until when places and sessions are kept, whether or not they are heard of.
local function kept_until()
  local heard_at = number('heard_at')
  local kept = number('kept_until') or 0
  if heard_at and now - heard_at > SILENT_MS and now - heard_at < FORGOTTEN_MS then
    kept = now + away_ms
    redis.call('HSET', state, 'kept_until', kept)
  end
  -- A clock set back must not make us wait for it.
  if not heard_at or now - heard_at >= 1000 or heard_at > now then
    redis.call('HSET', state, 'heard_at', now)
  end
  return kept
end

-- Places of those who are away, and sessions that have ended, are given up.
local function sweep(kept, at_most)
  if now < kept then
    return
  end
  local gone = redis.call('ZRANGE', seen, '-inf', now - away_ms, 'BYSCORE', 'LIMIT', 0, at_most)
  if #gone > 0 then
    redis.call('ZREM', seen, unpack(gone))
    redis.call('ZREM', waiting, unpack(gone))
  end
  local ended = redis.call('ZRANGE', active, '-inf', now, 'BYSCORE', 'LIMIT', 0, at_most)
  if #ended > 0 then
    redis.call('ZREM', active, unpack(ended))
    redis.call('SREM', bought, unpack(ended))
  end
end

-- How fast the room may run now: admitted a second, and active at most.
local function limits()
  local set = redis.call('HMGET', state, 'factor', 'factor_at')
  local factor = 1
  if set[1] and now - tonumber(set[2]) < STALE_MS then
    factor = tonumber(set[1])
  end
  return tonumber(ARGV[1]) * factor, math.max(1, math.floor(tonumber(ARGV[2]) * factor))
end

-- The token bucket: what one second brings is kept at most.
local function tokens_at(per_s)
  local burst = math.max(1, per_s)
  local saved = redis.call('HMGET', state, 'tokens', 'tokens_at')
  if not saved[1] then
    return burst
  end
  local since = tonumber(saved[2])
  if since > now then
    redis.call('HSET', state, 'tokens_at', now)
    since = now
  end
  return math.min(burst, tonumber(saved[1]) + (now - since) * per_s / 1000)
end

local function outstanding()
  return redis.call('ZCARD', active) - redis.call('SCARD', bought)
end

-- Let in as many as may be, in their order. Each has `away_ms` to take notice; then the session begins.
local function admit(kept, at_most)
  local per_s, most = limits()
  local tokens = tokens_at(per_s)
  local places = math.min(math.floor(tokens), most - redis.call('ZCARD', active), at_most)
  local stock = number('stock')
  if stock then
    places = math.min(places, stock - outstanding())
  end
  if places < 1 then
    return tokens
  end
  local called = redis.call('ZPOPMIN', waiting, places)
  local count = 0
  for i = 1, #called, 2 do
    local heard_at = tonumber(redis.call('ZSCORE', seen, called[i])) or 0
    redis.call('ZREM', seen, called[i])
    if now - heard_at < away_ms or now < kept then
      redis.call('ZADD', active, now + away_ms, called[i])
      count = count + 1
    end
  end
  if count > 0 then
    tokens = tokens - count
    redis.call('HSET', state, 'tokens', tokens, 'tokens_at', now)
    redis.call('HINCRBY', state, 'admitted', count)
  end
  return tokens
end
