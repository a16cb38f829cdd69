-- Gives a code back, if it is still the holder's.
local code, holder = KEYS[1], ARGV[1]
local held = redis.call('GET', code)
if held and string.sub(held, 1, #holder + 1) == 'c' .. holder then
  redis.call('DEL', code)
end
return redis.status_reply('OK')
