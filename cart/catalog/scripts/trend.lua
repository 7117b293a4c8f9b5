-- Count orders of products. KEYS[1] the sorted set; ARGV the half-life in seconds, the number of products to keep, the milliseconds
-- until the set expires, and then a SKU and its number of orders, as often as needed.
-- A score is the binary logarithm of the weight that the product had in 1970, so it grows by one for each half-life that passes, and
-- nothing has to be written again because time passes.
local time = redis.call('TIME')
local now = (time[1] + time[2] / 1e6) / ARGV[1]
for at = 4, #ARGV, 2 do
  local score = now + math.log(ARGV[at + 1]) / math.log(2)
  local was = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[at]) or nil)
  if was then
    -- The logarithm of the sum of both weights, which are too large for numbers themselves.
    score = math.max(was, score) + math.log(1 + 2 ^ -math.abs(was - score)) / math.log(2)
  end
  redis.call('ZADD', KEYS[1], string.format('%.17g', score), ARGV[at])
end
local surplus = redis.call('ZCARD', KEYS[1]) - ARGV[2]
if surplus > 0 then
  redis.call('ZPOPMIN', KEYS[1], surplus)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
