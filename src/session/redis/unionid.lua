-- Notes that a user has a unionid, for as long as the session may live that was opened or refreshed now.
local users = KEYS[1]
local moved, ttl, user = unpack(ARGV)
local now = time(moved)
redis.call('ZREMRANGEBYSCORE', users, '-inf', string.format('%d', now))
redis.call('ZADD', users, string.format('%d', now + ttl), user)
local last = redis.call('ZREVRANGE', users, 0, 0, 'WITHSCORES')
redis.call('EXPIREAT', users, last[2] + 60)
