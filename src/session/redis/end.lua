-- Ends a session, and sets its tombstone in any case. Returns whether the session existed.
local session, user, keys, ending, tombstones = unpack(KEYS)
local moved, sid, revoked_for, ended_for = unpack(ARGV)
local now = time(moved)
if redis.call('EXISTS', session) == 0 then
  if not is_ended(tombstones, sid) then
    add_tombstone(tombstones, sid, now, ended_for)
  end
  return 0
end
note_end(ending, tombstones, sid, now, revoked_for, ended_for)
remove(session, user, keys, sid, now)
return 1
