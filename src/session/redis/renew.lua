-- Begins another generation of the stream, in which the present entries count as complete, unless another node has begun one since.
-- Returns the generation.
local stream, state, again, repair = unpack(KEYS)
local seen, new, numbered, is_repair = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local generation = redis.call('HGET', state, 'generation')
if generation and generation ~= seen then
  return generation
end
local length = redis.call('XLEN', stream)
-- Numbers never go back, since nodes take that for another loss.
local added = math.max(numbered, length, tonumber(redis.call('HGET', state, 'added') or 0))
redis.call('HSET', state, 'generation', new, 'added', string.format('%d', added),
  'removed', string.format('%d', added - length))
-- What was added again may have been lost again.
redis.call('DEL', again)
if is_repair == '1' then
  note_repair(repair)
end
return new
