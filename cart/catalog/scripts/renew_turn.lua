-- Keep the import turn KEYS[1] of token ARGV[1] for another ARGV[2] milliseconds. Returns 0 when it is lost.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
