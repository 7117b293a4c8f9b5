#!lua flags=allow-oom
-- Enters stored orders in the index.
-- KEYS the sets of their numbers, then the sorted sets of their shoppers
-- ARGV 1 how many of the keys are sets of numbers   2... for each key the order id, and when it was accepted (ms)
for i = 1, #KEYS do
    if i <= tonumber(ARGV[1]) then
        redis.call('SADD', KEYS[i], ARGV[2 * i])
    else
        redis.call('ZADD', KEYS[i], ARGV[2 * i + 1], ARGV[2 * i])
    end
end
return #KEYS
