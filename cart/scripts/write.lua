-- The first part of every script that changes a cart: conditions and replies. The script itself follows in the same text.
--
-- KEYS[1]  the cart
-- ARGV[1]  in MessagePack: 1 the write as `cart.ports.Write`: `now` (ms), `if_match`, `owner`, `limits`
--          2 version and time of the state that the process has cached, or nil   3... arguments of the script itself
-- Replies  {'applied', version, updated}  the change was applied to the cached state, so no lines need to be sent
--          {'whole', fields}              the new state
--          {'not-found'} {'merging'} {'closed', order id or ''} {'version', current} {'currency', the cart's}
--          {'full'} {'quantity'} {'no-line', sku}   refused, and nothing changed
local CART, ARGS = KEYS[1], cmsgpack.unpack(ARGV[1])
local WRITE, CACHED = ARGS[1], ARGS[2]
local LIMITS = WRITE.limits

-- A line is stored as "packed quoted": packed is its position in the order of first adding, times this, plus its quantity.
local POSITION = 1048576

local fields = redis.call('HMGET', CART, '\1v', '\1u', '\1s', '\1w', '\1c', '\1q')
local version, updated, status, owner, currency = fields[1], fields[2], fields[3], fields[4], fields[5]
local next_position = tonumber(fields[6] or 0)

local function refusal()
    if not version or (owner and owner ~= WRITE.owner) then
        return {'not-found'}
    end
    if status == 'merging' then
        return {'merging'}
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
    redis.call('PEXPIREAT', CART, new_updated + (owner and LIMITS.owned_ttl_ms or LIMITS.anonymous_ttl_ms))
    return reply_with(new_version, new_updated)
end
