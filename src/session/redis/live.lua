-- Answers which sessions of a user have not ended, no more than are wanted.
local now = string.format('%d', time(ARGV[1]))
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, ARGV[2])
