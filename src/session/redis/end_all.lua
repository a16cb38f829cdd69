-- Removes the sessions that are named, and their user's session_key with the last one. Answers which sessions are to be
-- revoked now: these, and those of a time before that was broken off.
local user, keys, ending = KEYS[1], KEYS[2], KEYS[3]
local now, lasting = ARGV[1], ARGV[2]
-- First, since a Redis without memory refuses this: then nothing is done by half.
for at = 3, #ARGV do
  redis.call('SADD', ending, ARGV[at])
  redis.call('EXPIRE', ending, lasting)
end
for at = 3, #ARGV do
  redis.call('DEL', KEYS[at + 1])
  redis.call('ZREM', user, ARGV[at])
end
redis.call('ZREMRANGEBYSCORE', user, '-inf', now)
if redis.call('EXISTS', user) == 0 then
  redis.call('DEL', keys)
end
return redis.call('SMEMBERS', ending)
