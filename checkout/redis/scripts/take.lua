#!lua flags=allow-oom
-- Leases an order to a worker, and reads it.
-- KEYS 1 order   2 orders of the partition that need attention
-- ARGV 1 order id   2 holder   3 lifetime of the lease (ms)   4 deaths after which the order runs alone
--      5 the longest delay of an order that was put back (ms)
-- Replies {'taken', order, state or nil, facts or nil, failures, deaths, unanswered runs, ms since the first of them}
--         {'busy', ms until the lease ends}   {'early', ms until it may run again}   {'aside'}   {'unknown'}
local held = redis.call('HMGET', KEYS[1], 'doc', 'state', 'status', 'lease', 'failures', 'deaths', 'unanswered', 'aside', 'facts', 'due', 'revision')
local doc, state, status, lease, unanswered, aside, facts = held[1], held[2], held[3], held[4], held[7], held[8], held[9]
if not doc then
    return {'unknown'}
end
if aside then
    if string.match(aside, '^%S+') == status and not facts then
        return {'aside'}
    end
    -- It was cancelled since then, and its steps are to be undone; or something was told of it.
    redis.call('HDEL', KEYS[1], 'aside', 'failures', 'deaths', 'unanswered', 'due')
    redis.call('HDEL', KEYS[2], ARGV[1])
    held[5], held[6], held[10], unanswered = nil, nil, nil, nil
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = held[10]
if due then
    local at, revision = string.match(due, '^(%d+) (%d+)$')
    -- A change or a fact since then ends the delay, and so does a server whose clock is behind that of the one before.
    if revision == (held[11] or '1') and not facts and tonumber(at) > now and tonumber(at) <= now + ARGV[5] then
        return {'early', tonumber(at) - now}
    end
    redis.call('HDEL', KEYS[1], 'due')
end
local failures, deaths = tonumber(held[5] or 0), tonumber(held[6] or 0)
-- A completed order, and what follows, needs a lease for its facts only.
local is_completed = status == 'completed' or status == 'shipped' or status == 'delivered' or status == 'returned'
if not is_completed or facts then
    local holder, until_ms
    if lease then
        holder, until_ms = string.match(lease, '^(%S+) (%d+)$')
    end
    if holder and holder ~= ARGV[2] then
        if tonumber(until_ms) > now then
            return {'busy', tonumber(until_ms) - now}
        end
        -- It was never put back: its worker died or hung. If the order ran alone, the order is to blame.
        if deaths >= tonumber(ARGV[4]) then
            failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
        end
        deaths = redis.call('HINCRBY', KEYS[1], 'deaths', 1)
    end
    redis.call('HSET', KEYS[1], 'lease', ARGV[2] .. ' ' .. string.format('%d', now + ARGV[3]))
end
local runs, waited = 0, 0
if unanswered then
    local since, count, at = string.match(unanswered, '^(%d+) (%d+) (%S+)$')
    if at == status then
        runs, waited = tonumber(count), now - tonumber(since)
    end
end
return {'taken', doc, state, facts, failures, deaths, runs, waited}
