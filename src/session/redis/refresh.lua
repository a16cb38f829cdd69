-- Replaces a refresh token by the rule in rotation.rs. Returns the session; or 0: it has ended; 1: the token was replaced before the
-- grace, and its reuse ends the session; 2: the identity begins with none of the last arguments.
local session, user, keys, ending, tombstones = unpack(KEYS)
local moved, ttl, sid, grace, generation, presented, successor, remembered, revoked_for, ended_for = unpack(ARGV, 1, 10)
local now = time(moved)
local expires = string.format('%d', now + ttl)
grace, generation, remembered = tonumber(grace), tonumber(generation), tonumber(remembered)

local old = redis.call('HMGET', session, 'identity', 'created', 'expires', 'generation', 'current', 'replaced')
if not old[1] or now >= tonumber(old[3]) then
  return 0
end
if is_ended(tombstones, sid) then
  -- It exists because Redis lost the write that removed it.
  remove(session, user, keys, sid, now)
  return 0
end
local known = false
for at = 11, #ARGV do
  known = known or string.sub(old[1], 1, #ARGV[at]) == ARGV[at]
end
if not known then
  return 2
end

-- The latest that WeChat gave in a login of this user.
old[7] = redis.call('HGET', keys, 'unionid') or ''

local replaced = {}
for time in string.gmatch(old[6], '%d+') do
  replaced[#replaced + 1] = tonumber(time)
end

local ahead = generation - tonumber(old[4])
-- The fingerprints, 16 bytes each, of the token and of the tokens before it that it is derived from, newest first.
if ahead >= 0 and string.sub(presented, ahead * 16 + 1, ahead * 16 + 16) == old[5] then
  local kept = {}
  for _, time in ipairs(replaced) do
    if now - time <= grace or #kept > 0 then
      kept[#kept + 1] = time
    end
  end
  for _ = 0, ahead do
    kept[#kept + 1] = now
  end
  while #kept > remembered do
    table.remove(kept, 1)
  end
  old[3], old[4], old[5], old[6] = expires, tostring(generation + 1), successor, table.concat(kept, ' ')
  redis.call('HSET', session, 'expires', old[3], 'generation', old[4], 'current', old[5], 'replaced', old[6])
  redis.call('ZADD', user, expires, sid)
  last_until(session, user, keys, expires)
  return old
end

local time = ahead < 0 and replaced[#replaced + ahead + 1]
if time and now - time <= grace then
  return old
end

note_end(ending, tombstones, sid, now, revoked_for, ended_for)
remove(session, user, keys, sid, now)
return 1
