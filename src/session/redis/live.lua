-- Returns the members of a sorted set whose time is not over, such as the sessions of a user, up to a limit.
local now = string.format('%d', time(ARGV[1]))
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, ARGV[2])
