-- Adds revocations that Redis lost, each once, however many nodes know it. Returns the generation.
local stream, state, again, repair = unpack(KEYS)
for at = 1, #ARGV, 2 do
  if redis.call('SADD', again, ARGV[at]) == 1 then
    local number = redis.call('HINCRBY', state, 'added', 1)
    redis.call('XADD', stream, '*', 's', ARGV[at], 'u', ARGV[at + 1], 'n', number)
  end
end
-- Longer than any node takes to read the stream.
redis.call('EXPIRE', again, 60)
note_repair(repair)
return redis.call('HGET', state, 'generation')
