-- The common part of the scripts of a room; it is prepended to each of them.
-- KEYS: state (hash); waiting (place ids by number); seen (waiting place ids by their last request); active (place ids by the
-- end of their session); bought (active place ids with an order).
-- ARGV: admissions per second, maximum active, ms without a request until a place expires, ms until a session ends; then
-- the arguments of the script. All times are the server's, in ms, so that the clocks of gateways do not matter.
local state, waiting, seen, active, bought = unpack(KEYS)
local away_ms, session_ms = tonumber(ARGV[3]), tonumber(ARGV[4])

-- The most places and sessions that one visit, and one report, expires or admits.
local WORK, REPORT_WORK = 100, 1000
-- A room without calls for so long was unreachable: the shoppers could not poll, so no place expires.
local SILENT_MS, FORGOTTEN_MS = 5000, 900000
-- A factor that is not reported again for so long has no reporter any more.
local STALE_MS = 10000

-- The life of a room without calls, and the rest of it at which a call renews it; in seconds.
local EXPIRE_S, RENEW_S = 86400, 82800

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function number(field)
  return tonumber(redis.call('HGET', state, field))
end

-- For a key that may be new: a new key has no expiry, and the next renewal may never come.
local function expires(key)
  if redis.call('TTL', key) == -1 then
    redis.call('EXPIRE', key, EXPIRE_S)
  end
end

local function renew()
  if redis.call('TTL', state) < RENEW_S then
    for _, key in ipairs(KEYS) do
      redis.call('EXPIRE', key, EXPIRE_S)
    end
  end
end

-- The time until which no place or session expires.
local function grace_until()
  local seen_at = number('seen_at')
  local until_ms = number('grace_until') or 0
  if seen_at and now - seen_at > SILENT_MS and now - seen_at < FORGOTTEN_MS then
    until_ms = now + away_ms
    redis.call('HSET', state, 'grace_until', until_ms)
  end
  -- A clock that was set back must not delay the room.
  if not seen_at or now - seen_at >= 1000 or seen_at > now then
    redis.call('HSET', state, 'seen_at', now)
    renew()
  end
  return until_ms
end

-- Remove expired places and sessions.
local function sweep(grace_ends, at_most)
  if now < grace_ends then
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

-- The current limits: admissions per second, and maximum active.
local function limits()
  local set = redis.call('HMGET', state, 'factor', 'factor_at')
  local factor = 1
  if set[1] and now - tonumber(set[2]) < STALE_MS then
    factor = tonumber(set[1])
  end
  return tonumber(ARGV[1]) * factor, math.max(1, math.floor(tonumber(ARGV[2]) * factor))
end

-- The token bucket: it holds the tokens of one second at most.
local function tokens_at(per_s)
  -- A room that is paused admits none, tokens of the time before included.
  if per_s == 0 then
    return 0
  end
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

-- Admit as many as the limits allow, in their order. Each has `away_ms` for its next request; then the session begins.
local function admit(grace_ends, at_most)
  local per_s, max_active = limits()
  local tokens = tokens_at(per_s)
  local free = math.min(math.floor(tokens), max_active - redis.call('ZCARD', active), at_most)
  local stock = number('stock')
  if stock then
    free = math.min(free, stock - outstanding())
  end
  if free < 1 then
    return tokens
  end
  local called = redis.call('ZPOPMIN', waiting, free)
  local count = 0
  for i = 1, #called, 2 do
    local seen_at = tonumber(redis.call('ZSCORE', seen, called[i])) or 0
    redis.call('ZREM', seen, called[i])
    if now - seen_at < away_ms or now < grace_ends then
      redis.call('ZADD', active, now + away_ms, called[i])
      count = count + 1
    end
  end
  if count > 0 then
    expires(active)
    tokens = tokens - count
    redis.call('HSET', state, 'tokens', tokens, 'tokens_at', now)
    redis.call('HINCRBY', state, 'admitted', count)
  end
  return tokens
end
