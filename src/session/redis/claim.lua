-- Takes a code, unless somebody has it. Answers what became of it and for how long that is kept, where it is known: d with what it
-- brought, or r with WeChat's refusal; else 0 where it was taken, 1 where another has it, 2 where that one has not been heard of
-- for too long.
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
