-- Removes a session, and with the last one its user's keys.
local function remove(session, user, keys, sid, now)
  redis.call('DEL', session)
  redis.call('ZREM', user, sid)
  redis.call('ZREMRANGEBYSCORE', user, '-inf', string.format('%d', now))
  if redis.call('EXISTS', user) == 0 then
    redis.call('DEL', keys)
  end
end

-- Notes that a session ended and is not revoked yet. This must come before the removal: a Redis without memory refuses it, and a
-- script is not rolled back.
local function note_end(ending, tombstones, sid, now, revoked_for, ended_for)
  redis.call('SADD', ending, sid)
  redis.call('EXPIRE', ending, revoked_for)
  add_tombstone(tombstones, sid, now, ended_for)
end
