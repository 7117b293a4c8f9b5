-- The opening of every script that changes a cart; the script itself follows it in the same text.
--
-- KEYS[1]  the cart
-- ARGV     1 now (ms)   2 version the cart must have, or ''   3 who asks, or ''   4 the state the caller holds,
--          "version updated", or ''   5 most lines   6 most of a SKU   7, 8 how long an anonymous and an owned cart is kept
--          (ms)   9... what the script itself takes
-- Replies  {'known', version, updated}  the caller can tell the new state from the one it holds: costs the same for any cart
--          {'whole', fields}            the new state
--          {'not-found'} {'merging'} {'closed', order id or ''} {'version', current} {'currency', the cart's}
--          {'full'} {'quantity'} {'no-line', sku}   refused, and nothing changed
local CART, NOW, MAX_LINES, MAX_QUANTITY = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- A line is stored as "packed quoted": packed is its place in the order of first adding, times this, plus its quantity.
local PLACE = 1048576

local held = redis.call('HMGET', CART, '\1v', '\1u', '\1s', '\1w', '\1c', '\1q')
local version, updated, status, owner, currency = held[1], held[2], held[3], held[4], held[5]
local next_place = tonumber(held[6] or 0)

local function refusal()
    if not version or (owner and owner ~= ARGV[3]) then
        return {'not-found'}
    end
    if status == 'merging' then
        return {'merging'}
    end
    if status then
        return {'closed', redis.call('HGET', CART, '\1o') or ''}
    end
    if ARGV[2] ~= '' and ARGV[2] ~= version then
        return {'version', tonumber(version)}
    end
end

-- An open cart has six fields besides its lines, and a seventh if it is owned.
local function line_count()
    return redis.call('HLEN', CART) - (owner and 7 or 6)
end

local function answer(new_version, new_updated)
    if ARGV[4] == version .. ' ' .. updated then
        return {'known', new_version, new_updated}
    end
    return {'whole', redis.call('HGETALL', CART)}
end

local function answer_unchanged()
    return answer(tonumber(version), tonumber(updated))
end

-- Ends a change: the version rises, and so may the time, never back; `...` are further fields to set.
local function answer_changed(...)
    local new_version, new_updated = version + 1, math.max(NOW, tonumber(updated))
    redis.call('HSET', CART, '\1v', new_version, '\1u', new_updated, ...)
    redis.call('PEXPIREAT', CART, new_updated + ARGV[owner and 8 or 7])
    return answer(new_version, new_updated)
end
