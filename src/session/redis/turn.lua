-- Takes a lease unless another holder has it. Returns 1 and a fencing token, or 0 and the milliseconds that are left to the other. The
-- token is made of Redis's time, so that it still rises after Redis lost the previous one.
local slot = KEYS[1]
local lasts, holder, lease, moved = unpack(ARGV)
local time = redis.call('TIME')
local micros = (tonumber(time[1]) + tonumber(moved)) * 1000000 + tonumber(time[2])
local millis = math.floor(micros / 1000)
local there = redis.call('HMGET', slot, 'holder', 'until', 'fence', 'rank')
local ends = tonumber(there[2] or '0')
if there[1] and there[1] ~= holder and millis < ends then
  return { 0, string.format('%.0f', ends - millis) }
end
local fence = math.max(micros, tonumber(there[3] or '0') + 1, tonumber(there[4] or '0') + 1)
fence = string.format('%.0f', fence)
redis.call('HSET', slot, 'holder', holder, 'until', string.format('%.0f', millis + tonumber(lease)), 'fence', fence)
redis.call('EXPIRE', slot, lasts)
return { 1, fence }
