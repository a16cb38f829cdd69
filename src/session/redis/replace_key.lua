-- Puts a session_key in place of the one that is expected, which is kept beside it. Answers whether it is there now.
local keys = KEYS[1]
local moved, expected, sealed = unpack(ARGV)
local latest = redis.call('HGET', keys, 'latest')
if latest == expected then
  local now = string.format('%d', time(moved))
  redis.call('HSET', keys, 'previous', latest, 'replaced', now, 'latest', sealed)
  return 1
end
-- Asked again after an answer that was lost.
return latest == sealed and 1 or 0
