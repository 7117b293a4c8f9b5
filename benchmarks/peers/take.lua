-- Counts a request in a fixed window and returns how many there were. KEYS[1] the counter, ARGV[1] the window (ms)
local count = redis.call('INCR', KEYS[1])
if count == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return count
