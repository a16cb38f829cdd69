-- Opens a session. Asked twice for the same one, it leaves the same behind.
local session, user, keys = KEYS[1], KEYS[2], KEYS[3]
local now, expires, sid, identity, current, sealed, unionid = unpack(ARGV)

redis.call('HSET', session, 'identity', identity, 'created', now, 'expires', expires,
  'generation', 0, 'current', current, 'replaced', '')
redis.call('ZREMRANGEBYSCORE', user, '-inf', now)
redis.call('ZADD', user, expires, sid)

local latest = redis.call('HGET', keys, 'latest')
if latest and latest ~= sealed then
  redis.call('HSET', keys, 'previous', latest, 'replaced', now)
end
redis.call('HSET', keys, 'latest', sealed)
if unionid ~= '' then
  redis.call('HSET', keys, 'unionid', unionid)
end
last_until(session, user, keys, expires)
-- The latest that WeChat gave, for every session of this user.
return redis.call('HGET', keys, 'unionid') or ''
