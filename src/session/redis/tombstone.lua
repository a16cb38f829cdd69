-- Sets the tombstone of a session of which nothing is stored.
local moved, sid, ended_for = unpack(ARGV)
add_tombstone(KEYS[1], sid, time(moved), ended_for)
return redis.status_reply('OK')
