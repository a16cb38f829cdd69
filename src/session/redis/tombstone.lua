-- Sets the tombstone of a session that does not exist.
local moved, sid, ended_for = unpack(ARGV)
if not is_ended(KEYS[1], sid) then
  add_tombstone(KEYS[1], sid, time(moved), ended_for)
end
return redis.status_reply('OK')
