-- Claims a code. Returns its outcome and for how long that is kept, where it is known: d and what it brought, r and WeChat's errcode,
-- or n where its session could not be stored. Otherwise returns 0: claimed, 1: another holder has it, 2: another holder has it, whose
-- lease is over.
local code = KEYS[1]
local holder, lease, lasting = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('GET', code)
if not held then
  redis.call('SET', code, 'c' .. holder .. string.format('%d', now), 'PX', lasting)
  return 0
end
if string.sub(held, 1, 1) ~= 'c' then
  return { held, redis.call('PTTL', code) }
end
if string.sub(held, 2, #holder + 1) == holder then
  return 0
end
if now - tonumber(string.sub(held, #holder + 2)) < lease then
  return 1
end
return 2
