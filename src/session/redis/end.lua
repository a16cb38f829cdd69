-- Removes a session, and its user's session_key with the last one. Answers whether it was there.
local session, user, keys, ending = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, sid, lasting = unpack(ARGV)
if redis.call('EXISTS', session) == 0 then
  return 0
end
-- First, since a Redis without memory refuses this: then nothing is done by half.
redis.call('SADD', ending, sid)
redis.call('EXPIRE', ending, lasting)
redis.call('DEL', session)
redis.call('ZREM', user, sid)
redis.call('ZREMRANGEBYSCORE', user, '-inf', now)
if redis.call('EXISTS', user) == 0 then
  redis.call('DEL', keys)
end
return 1
