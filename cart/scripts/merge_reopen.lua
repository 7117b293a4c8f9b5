#!lua flags=allow-oom
-- Takes back step 1 of a merge whose attempt is fenced. KEYS[1] the source. ARGV 1 attempt.
local fields = redis.call('HMGET', KEYS[1], '\1s', '\1a')
if fields[1] == 'merging' and fields[2] == ARGV[1] then
    redis.call('HDEL', KEYS[1], '\1s', '\1m')
end
