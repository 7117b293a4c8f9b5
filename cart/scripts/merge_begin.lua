-- Step 1 of a merge, at its source: no write may change the source until the merge is settled.
-- KEYS[1] the source. ARGV 1 '=' and the signed-in shopper, or ''   2 the target's id   3 now (ms)   4, 5 lifetime of a cart (ms),
--      of one without an owner and of an owned one
-- Replies {'begun', attempt, fields} {'merging'}: into another cart {'closed', order id or '', id merged into or ''} {'not-found'}
local fields = redis.call('HMGET', KEYS[1], '\1w', '\1s', '\1m', '\1a', '\1o')
local owner, status, target, attempt, order_id = fields[1], fields[2], fields[3], fields[4], fields[5]
if not attempt or (owner and '=' .. owner ~= ARGV[1]) then
    return {'not-found'}
end
if status and status ~= 'merging' then
    return {'closed', order_id or '', target or ''}
end
if status and target ~= ARGV[2] then
    return {'merging'}
end
if not status then
    -- The number of an attempt is its time, or one more than the last, so that an older attempt is recognised and refused.
    attempt = math.max(tonumber(ARGV[3]), attempt + 1)
    redis.call('HSET', KEYS[1], '\1s', 'merging', '\1m', ARGV[2], '\1a', attempt)
    -- A cart expires a fixed time after its last change, by the clock of the store, and this begins one.
    redis.call('PEXPIRE', KEYS[1], owner and ARGV[5] or ARGV[4], 'GT')
end
-- A source that is already merging into this target continues the same attempt.
return {'begun', tonumber(attempt), redis.call('HGETALL', KEYS[1])}
