-- Removes the sessions that are named, and their user's session_key with the last one.
local user, keys = KEYS[1], KEYS[2]
for at, sid in ipairs(ARGV) do
  redis.call('DEL', KEYS[at + 2])
  redis.call('ZREM', user, sid)
end
if redis.call('EXISTS', user) == 0 then
  redis.call('DEL', keys)
end
return redis.status_reply('OK')
