-- Removes a session, and its user's session_key with the last one. Answers whether it was there.
local session, user, keys = KEYS[1], KEYS[2], KEYS[3]
local now, sid = ARGV[1], ARGV[2]
local removed = redis.call('DEL', session)
redis.call('ZREM', user, sid)
redis.call('ZREMRANGEBYSCORE', user, '-inf', now)
if redis.call('EXISTS', user) == 0 then
  redis.call('DEL', keys)
end
return removed
