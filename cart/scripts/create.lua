-- Stores a new cart. KEYS[1] the cart. ARGV 1 its lifetime (ms), 2... its fields and their values.
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
