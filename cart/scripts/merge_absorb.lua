-- Step 2 of a merge, at its target: takes in the source's lines, once.
-- KEYS[2], before the record of idempotency keys: the merge's marker: "absorbed attempt", or "fenced attempt" when attempts up to that one must not be absorbed.
-- ARGS 3 the source's lines, 4 its currency, 5 attempt, 6 strategy, 7 lifetime of the marker (ms)
-- Replies as write.lua, or {'settled'}: this attempt was absorbed or fenced before.
local outcome, settled_attempt = string.match(redis.call('GET', KEYS[2]) or '', '^(%a+) (%d+)$')
if outcome == 'absorbed' or (outcome and tonumber(settled_attempt) >= ARGS[5]) then
    return {'settled'}
end
local refused = refusal()
if refused then
    return refused
end
if ARGS[4] ~= currency then
    return {'currency', currency}
end

local combine = {
    sum = function(quantity, stored)
        return stored + quantity
    end,
    max = math.max,
    keep = function(_, stored)
        return stored
    end,
}
local combined = combine[ARGS[6]]
local reply = set_many(ARGS[3], function(quantity, quoted, stored_quantity, stored_quoted)
    if not stored_quantity then
        return quantity, quoted
    end
    return combined(quantity, stored_quantity), stored_quoted
end)
if reply[1] == 'whole' then
    redis.call('SET', KEYS[2], string.format('absorbed %.0f', ARGS[5]), 'PX', ARGS[7])
end
return reply
