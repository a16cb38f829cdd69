-- Stores that WeChat took a code and its session could not be stored, unless another holder has the code.
local code, holder, lasting = KEYS[1], ARGV[1], ARGV[2]
local held = redis.call('GET', code)
if not held or string.sub(held, 1, #holder + 1) == 'c' .. holder then
  redis.call('SET', code, 'n', 'PX', lasting)
end
return redis.status_reply('OK')
