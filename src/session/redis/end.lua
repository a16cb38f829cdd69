-- Removes a session, and its user's session_key with the last one. Answers whether it was there.
local session, user, keys, ending = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, sid, lasting = unpack(ARGV)
if redis.call('EXISTS', session) == 0 then
  return 0
end
remove(session, user, keys, ending, sid, now, lasting)
return 1
