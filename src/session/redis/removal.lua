-- Removes a session, and what its user has with the last one; it is noted as one that is yet to be revoked.
local function remove(session, user, keys, ending, sid, now, lasting)
  -- First, since a Redis without memory refuses this: then nothing is done by half.
  redis.call('SADD', ending, sid)
  redis.call('EXPIRE', ending, lasting)
  redis.call('DEL', session)
  redis.call('ZREM', user, sid)
  redis.call('ZREMRANGEBYSCORE', user, '-inf', now)
  if redis.call('EXISTS', user) == 0 then
    redis.call('DEL', keys)
  end
end
