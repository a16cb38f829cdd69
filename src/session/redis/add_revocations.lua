-- Adds revocations to the stream, each with its number. Returns the generation; none means that Redis lost entries.
local stream, state = KEYS[1], KEYS[2]
for at = 1, #ARGV, 2 do
  local number = redis.call('HINCRBY', state, 'added', 1)
  redis.call('XADD', stream, '*', 's', ARGV[at], 'u', ARGV[at + 1], 'n', number)
end
return redis.call('HGET', state, 'generation')
