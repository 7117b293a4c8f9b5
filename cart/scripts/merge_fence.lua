#!lua flags=allow-oom
-- Settles at the target whether an attempt has been absorbed; if not, it never will be.
-- KEYS[1] the merge's marker. ARGV 1 attempt, 2 lifetime of the fence (ms). Replies 'absorbed' or 'fenced'.
local outcome, attempt = string.match(redis.call('GET', KEYS[1]) or '', '^(%a+) (%d+)$')
if outcome == 'absorbed' then
    return outcome
end
if not outcome or tonumber(attempt) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], 'fenced ' .. ARGV[1], 'PX', ARGV[2])
end
return 'fenced'
