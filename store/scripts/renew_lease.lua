#!lua flags=allow-oom
-- Extend the lease KEYS[1] of the holder of token ARGV[1] to ARGV[2] milliseconds. Returns 0 where it is lost.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
