-- Returns the sessions of a user that have not ended, up to a limit.
local now = string.format('%d', time(ARGV[1]))
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, ARGV[2])
