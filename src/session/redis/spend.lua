-- Counts an action against its budget. Returns 1 if it is allowed, 0 if it comes too soon or the day's budget is spent.
local slot = KEYS[1]
local lasts, moved, gap, most = unpack(ARGV)
local now = tonumber(redis.call('TIME')[1]) + tonumber(moved)
local day = string.format('%d', math.floor(now / 86400))
local there = redis.call('HMGET', slot, 'day', 'spent', 'last')
local spent = 0
if there[1] == day then
  spent = tonumber(there[2])
end
if spent >= tonumber(most) or (there[3] and now - tonumber(there[3]) < tonumber(gap)) then
  return 0
end
redis.call('HSET', slot, 'day', day, 'spent', spent + 1, 'last', string.format('%d', now))
redis.call('EXPIRE', slot, lasts)
return 1
