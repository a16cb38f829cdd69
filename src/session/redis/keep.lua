-- Stores a value unless one of a higher rank is stored, ends the lease of whoever brings it, and returns what is stored now.
local slot = KEYS[1]
local lasts, turn, rank, sealed = unpack(ARGV)
local there = redis.call('HMGET', slot, 'rank', 'sealed', 'holder')
if turn ~= '' and there[3] == turn then
  redis.call('HSET', slot, 'until', '0')
end
if rank and (not there[1] or tonumber(rank) >= tonumber(there[1])) then
  redis.call('HSET', slot, 'rank', rank, 'sealed', sealed)
  redis.call('EXPIRE', slot, lasts)
  return { rank, sealed }
end
if not there[1] then
  return false
end
return { there[1], there[2] }
