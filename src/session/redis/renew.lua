-- Begins another generation of the stream, in which what is there counts as all, unless another node has begun one meanwhile.
-- Answers the generation.
local stream, state, again = unpack(KEYS)
local seen, new, numbered = ARGV[1], ARGV[2], tonumber(ARGV[3])
local generation = redis.call('HGET', state, 'generation')
if generation and generation ~= seen then
  return generation
end
local length = redis.call('XLEN', stream)
-- Numbers never go back, or nodes would take it for another loss.
local added = math.max(numbered, length, tonumber(redis.call('HGET', state, 'added') or 0))
redis.call('HSET', state, 'generation', new, 'added', string.format('%d', added),
  'removed', string.format('%d', added - length))
-- What was added again may be lost again.
redis.call('DEL', again)
return new
