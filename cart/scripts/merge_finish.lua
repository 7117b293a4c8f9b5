-- Step 3 of a merge, at its source: its lines are in the target, so it closes. KEYS[1] the source. ARGV 1 the target's id.
local held = redis.call('HMGET', KEYS[1], '\1s', '\1m', '\1a', '\1v', '\1u')
local status, target, attempt, version, updated = held[1], held[2], held[3], held[4], held[5]
if status ~= 'merging' or target ~= ARGV[1] then
    return
end
local merged_at = math.max(tonumber(attempt), tonumber(updated))
redis.call('HSET', KEYS[1], '\1s', 'merged', '\1v', version + 1, '\1u', merged_at)
-- Kept as long after this change as it was to be kept after the one before.
local expires_at = redis.call('PEXPIRETIME', KEYS[1])
if expires_at > 0 then
    redis.call('PEXPIREAT', KEYS[1], expires_at + merged_at - updated)
end
