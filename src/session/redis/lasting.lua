-- Sets the expiry of keys: of a session a minute after its end, of its user's keys with the last session.
local function last_until(session, user, keys, expires)
  redis.call('EXPIREAT', session, expires + 60)
  local latest = redis.call('ZREVRANGE', user, 0, 0, 'WITHSCORES')
  redis.call('EXPIREAT', user, latest[2] + 60)
  redis.call('EXPIREAT', keys, latest[2] + 60)
end
