-- Releases the holder's claim of a code; where WeChat refused the code, the errcode takes the claim's place for a while.
local code, holder, refused, lasting = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('GET', code)
if held and string.sub(held, 1, #holder + 1) == 'c' .. holder then
  if refused then
    redis.call('SET', code, 'r' .. refused, 'PX', lasting)
  else
    redis.call('DEL', code)
  end
end
return redis.status_reply('OK')
