-- Step 2 of a merge, at its target: takes in the source's lines, once.
-- KEYS[2] the merge's marker: "absorbed attempt", or "fenced attempt" when attempts up to that one must not be absorbed.
-- ARGV 9 attempt, 10 strategy, 11 lifetime of the marker (ms), 12 the source's currency, 13... its lines
-- Replies as write.lua, or {'settled'}: this attempt was absorbed or fenced before.
local outcome, settled_attempt = string.match(redis.call('GET', KEYS[2]) or '', '^(%a+) (%d+)$')
if outcome == 'absorbed' or (outcome and tonumber(settled_attempt) >= tonumber(ARGV[9])) then
    return {'settled'}
end
local refused = refusal()
if refused then
    return refused
end
if ARGV[12] ~= currency then
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
local combined = combine[ARGV[10]]
local reply = set_many(13, function(quantity, quoted, stored_quantity, stored_quoted)
    if not stored_quantity then
        return quantity, quoted
    end
    return combined(quantity, stored_quantity), stored_quoted
end)
if reply[1] == 'whole' then
    redis.call('SET', KEYS[2], 'absorbed ' .. ARGV[9], 'PX', ARGV[11])
end
return reply
