-- Opens a session. It is idempotent, except for the time.
local session, user, keys = KEYS[1], KEYS[2], KEYS[3]
local moved, ttl, sid, identity, current, sealed, unionid = unpack(ARGV)
local now = time(moved)
local created, expires = string.format('%d', now), string.format('%d', now + ttl)

redis.call('HSET', session, 'identity', identity, 'created', created, 'expires', expires,
  'generation', 0, 'current', current, 'replaced', '')
redis.call('ZREMRANGEBYSCORE', user, '-inf', created)
redis.call('ZADD', user, expires, sid)

local latest = redis.call('HGET', keys, 'latest')
if latest and latest ~= '' and sealed ~= '' and latest ~= sealed then
  redis.call('HSET', keys, 'previous', latest, 'replaced', created)
end
-- A login in a browser brings no session_key. The empty field makes the hash exist.
if sealed ~= '' or not latest then
  redis.call('HSET', keys, 'latest', sealed)
end
if unionid ~= '' then
  redis.call('HSET', keys, 'unionid', unionid)
end
last_until(session, user, keys, expires)
-- When the session was opened, and the latest unionid of its user.
return { now, redis.call('HGET', keys, 'unionid') or '' }
