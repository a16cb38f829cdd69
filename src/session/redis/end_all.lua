-- Ends the named sessions. Returns all sessions of the bucket that are not revoked yet: these, and those of unfinished ends.
local user, keys, ending, tombstones = unpack(KEYS, 1, 4)
local moved, revoked_for, ended_for = unpack(ARGV, 1, 3)
local now = time(moved)
for at = 4, #ARGV do
  -- A session that another node ended meanwhile has a tombstone.
  if redis.call('EXISTS', KEYS[at + 1]) == 1 or not is_ended(tombstones, ARGV[at]) then
    note_end(ending, tombstones, ARGV[at], now, revoked_for, ended_for)
  end
end
for at = 4, #ARGV do
  remove(KEYS[at + 1], user, keys, ARGV[at], now)
end
redis.call('ZREMRANGEBYSCORE', user, '-inf', string.format('%d', now))
return redis.call('SMEMBERS', ending)
