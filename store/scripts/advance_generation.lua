#!lua flags=allow-oom
-- Read the mark of the data in this store, make it if there is none, and count in the key of one process.
-- KEYS: the mark; the count of the process
-- ARGV: a mark for a store that has none; milliseconds that the count lasts without another call
-- Reply: the mark; the count
local mark = redis.call('GET', KEYS[1])
if not mark then
  mark = ARGV[1]
  redis.call('SET', KEYS[1], mark)
end
local count = redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {mark, count}
