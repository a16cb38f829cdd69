-- Compare-and-swap: replaces the expected session_key, which is kept as the previous one. Returns whether the new one is stored now.
local keys = KEYS[1]
local moved, expected, sealed = unpack(ARGV)
local latest = redis.call('HGET', keys, 'latest')
if latest == expected then
  local now = string.format('%d', time(moved))
  redis.call('HSET', keys, 'previous', latest, 'replaced', now, 'latest', sealed)
  return 1
end
-- The command may be repeated after a lost answer.
return latest == sealed and 1 or 0
