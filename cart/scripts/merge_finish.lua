#!lua flags=allow-oom
-- Step 3 of a merge, at its source: its lines are in the target, so it closes. KEYS[1] the source. ARGV 1 the target's id.
local fields = redis.call('HMGET', KEYS[1], '\1s', '\1m', '\1a', '\1v', '\1u')
local status, target, attempt, version, updated = fields[1], fields[2], fields[3], fields[4], fields[5]
if status ~= 'merging' or target ~= ARGV[1] then
    return
end
local merged_at = math.max(tonumber(attempt), tonumber(updated))
redis.call('HSET', KEYS[1], '\1s', 'merged', '\1v', version + 1, '\1u', merged_at)
