-- An admitted shopper has ordered, so no stock is reserved for their session any more.
-- ARGV[5]: the place id.
if redis.call('ZSCORE', active, ARGV[5]) then
  redis.call('SADD', bought, ARGV[5])
  expires(bought)
end
return 1
