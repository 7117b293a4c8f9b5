#!lua flags=allow-oom
-- Delete the lease KEYS[1] of the holder of token ARGV[1]. Returns 0 where it is lost.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
