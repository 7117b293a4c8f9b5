#!lua flags=allow-oom
-- Erases sessions that were entered under an e-mail address. One that has another address by now stays.
-- KEYS 1 the sessions of the partition with this address   2... those to erase
-- ARGV 1 hash of the address   2... the ids of the sessions
-- Replies how many are erased
local erased = 0
for i = 2, #KEYS do
    -- Of a broken record nobody can say that it belongs to another address.
    local emails = redis.pcall('HGET', KEYS[i], 'emails')
    if type(emails) ~= 'string' or string.find(emails, ARGV[1], 1, true) then
        erased = erased + redis.call('DEL', KEYS[i])
    end
    redis.call('ZREM', KEYS[1], ARGV[i])
end
return erased
