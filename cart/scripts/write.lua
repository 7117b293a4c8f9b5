-- The first part of every script that changes a cart: conditions and replies. The script itself follows in the same text.
--
-- KEYS[1]  the cart; the last of KEYS, for a write with an idempotency key: the record of the keys of its last writes
-- ARGV[1]  in MessagePack: 1 the write as `cart.ports.Write`: `now` (ms), `limits`, `if_match`, `owner`, `key`; nil where None
--          2 version and time of the state that the process has cached, or nil   3... arguments of the script itself
-- Replies  {'applied', version, updated}  the change was applied to the cached state, so no lines need to be sent
--          {'whole', fields}              the new state
--          {'repeated', fields}           the state now: the write was done before, by a call with the same idempotency key
--          {'not-found'} {'merging'} {'closed', order id or ''} {'version', current} {'currency', the cart's}
--          {'full'} {'quantity'} {'no-line', sku} {'reused'}   refused, and nothing changed
local CART, ARGS = KEYS[1], cmsgpack.unpack(ARGV[1])
local WRITE, CACHED = ARGS[1], ARGS[2]
local LIMITS = WRITE.limits

-- A line is stored as "packed quoted": packed is its position in the order of first adding, times this, plus its quantity.
local POSITION = 1048576

local fields = redis.call('HMGET', CART, '\1v', '\1u', '\1s', '\1w', '\1c', '\1q')
local version, updated, status, owner, currency = fields[1], fields[2], fields[3], fields[4], fields[5]
local next_position = tonumber(fields[6] or 0)

-- An idempotency key is a digest of the key, and one of the write that it is for, in 20 characters each. The record has those
-- of the last writes that were done, up to 50, for a day after the last one.
local HALF, MOST, RECORD_MS = 20, 50 * 40, 86400000

-- The write of the same key that was done before: its digest, or nil.
local function done_before()
    local record, key = redis.call('GET', KEYS[#KEYS]) or '', string.sub(WRITE.key, 1, HALF)
    for first = 1, #record, 2 * HALF do
        if string.sub(record, first, first + HALF - 1) == key then
            return string.sub(record, first + HALF, first + 2 * HALF - 1)
        end
    end
end

local function record_key()
    local record = (redis.call('GET', KEYS[#KEYS]) or '') .. WRITE.key
    redis.call('SET', KEYS[#KEYS], string.sub(record, -MOST), 'PX', RECORD_MS)
end

-- The reply to a write with an idempotency key that was used before. The cart may have changed or closed since.
local function reply_repeated()
    local done = done_before()
    if done == string.sub(WRITE.key, HALF + 1) then
        return {'repeated', redis.call('HGETALL', CART)}
    end
    return done and {'reused'}
end

local function refusal()
    if not version or (owner and owner ~= WRITE.owner) then
        return {'not-found'}
    end
    if status == 'merging' then
        return {'merging'}
    end
    local repeated = WRITE.key and reply_repeated()
    if repeated then
        return repeated
    end
    if status then
        return {'closed', redis.call('HGET', CART, '\1o') or ''}
    end
    if WRITE.if_match and WRITE.if_match ~= tonumber(version) then
        return {'version', tonumber(version)}
    end
end

-- An open cart has six fields besides its lines, and a seventh if it is owned.
local function line_count()
    return redis.call('HLEN', CART) - (owner and 7 or 6)
end

local function reply_with(new_version, new_updated)
    if WRITE.key then
        record_key()
    end
    if CACHED and CACHED[1] == tonumber(version) and CACHED[2] == tonumber(updated) then
        return {'applied', new_version, new_updated}
    end
    return {'whole', redis.call('HGETALL', CART)}
end

local function reply_unchanged()
    return reply_with(tonumber(version), tonumber(updated))
end

-- Completes a change: the version rises, and the time never goes back. `...` are further fields to set.
local function reply_changed(...)
    local new_version, new_updated = version + 1, math.max(WRITE.now, tonumber(updated))
    redis.call('HSET', CART, '\1v', new_version, '\1u', new_updated, ...)
    -- By the clock of the store, because that of a process may be wrong.
    redis.call('PEXPIRE', CART, owner and LIMITS.owned_ttl_ms or LIMITS.anonymous_ttl_ms)
    return reply_with(new_version, new_updated)
end
