-- An admitted shopper has ordered: what is left is for the others.
-- ARGV[5]: his place id.
if redis.call('ZSCORE', active, ARGV[5]) then
  redis.call('SADD', bought, ARGV[5])
end
return 1
