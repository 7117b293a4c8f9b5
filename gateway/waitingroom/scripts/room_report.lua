-- Called about every second by every process: report its factor, admit the next shoppers, and return the state of the room.
-- ARGV[5]: the process; ARGV[6], ARGV[7]: its factor and the reason; ARGV[8]: the stock: a number, empty where it could
-- not be read now, `none` where the room has none.
local reporter, factor, reason, stock = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
-- How fast admitted shoppers leave is measured over one to two of these times. It is unknown before the first time, and while
-- fewer have left: a guess from one or two would mislead.
local LEAVING_MS, FIRST_LEAVING_MS, FEWEST_LEFT = 120000, 30000, 3
local grace_ends = grace_until()

-- The lowest factor applies; the process that set it may raise it again.
local set = redis.call('HMGET', state, 'factor', 'factor_at', 'factor_by')
if not set[1] or factor <= tonumber(set[1]) or set[3] == reporter or now - tonumber(set[2]) >= STALE_MS then
  redis.call('HSET', state, 'factor', ARGV[6], 'factor_at', now, 'factor_by', reporter, 'factor_why', reason)
end

-- The rate is measured once a second, whichever process reports.
local mark = redis.call('HMGET', state, 'mark_at', 'mark_admitted', 'mark_waits', 'measured')
local elapsed_ms = now - (tonumber(mark[1]) or 0)
local is_due = elapsed_ms >= 900 or elapsed_ms < 0

if is_due and stock == 'none' then
  redis.call('HDEL', state, 'stock', 'stock_before')
elseif is_due and stock ~= '' then
  redis.call('HSET', state, 'stock_before', redis.call('HGET', state, 'stock') or stock, 'stock', stock)
end

sweep(grace_ends, REPORT_WORK)
local tokens = admit(grace_ends, REPORT_WORK)
local admitted = number('admitted') or 0

local function measure_leaving()
  local left = admitted - redis.call('ZCARD', active)
  local marks = redis.call('HMGET', state, 'left_at', 'left', 'left_next_at', 'left_next')
  local since, left_before = tonumber(marks[1]), tonumber(marks[2])
  if not since or since > now or left_before > left then
    redis.call('HSET', state, 'left_at', now, 'left', left, 'left_next_at', now, 'left_next', left)
    redis.call('HDEL', state, 'leaving')
    return
  end
  if now - tonumber(marks[3]) >= LEAVING_MS then
    since, left_before = tonumber(marks[3]), tonumber(marks[4])
    redis.call('HSET', state, 'left_at', since, 'left', left_before, 'left_next_at', now, 'left_next', left)
  end
  if now - since >= FIRST_LEAVING_MS and left - left_before >= FEWEST_LEFT then
    redis.call('HSET', state, 'leaving', (left - left_before) * 1000 / (now - since))
  else
    redis.call('HDEL', state, 'leaving')
  end
end

if is_due then
  measure_leaving()
  local waits = redis.call('ZCARD', waiting)
  if waits > 0 and mark[3] and tonumber(mark[3]) > 0 and elapsed_ms > 0 then
    -- An exponential mean over 20 s. It is measured only while shoppers wait: else it would be the rate of arrivals.
    local per_s = (admitted - tonumber(mark[2])) * 1000 / elapsed_ms
    local before = tonumber(mark[4]) or (limits())
    redis.call('HSET', state, 'measured', before + (per_s - before) * (1 - math.exp(-elapsed_ms / 20000)))
  elseif waits == 0 then
    redis.call('HDEL', state, 'measured')
  end
  redis.call('HSET', state, 'mark_at', now, 'mark_admitted', admitted, 'mark_waits', waits)
end

local fields = redis.call('HMGET', state, 'factor', 'factor_why', 'measured', 'stock')
return {
  redis.call('ZCARD', waiting), redis.call('ZCARD', active), redis.call('SCARD', bought), admitted,
  tostring(tokens), fields[3] or tostring((limits())), fields[1], fields[2], tonumber(fields[4] or -1), now,
}
