-- Removes expired entries from the beginning of the stream. Returns how many.
local stream, state = KEYS[1], KEYS[2]
local now, most = tonumber(ARGV[1]), ARGV[2]
local over = {}
for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', most)) do
  local id, fields = entry[1], entry[2]
  local lasts = 0
  for at = 1, #fields, 2 do
    if fields[at] == 'u' then
      lasts = tonumber(fields[at + 1]) or 0
    end
  end
  if lasts >= now then
    break
  end
  over[#over + 1] = id
end
if #over > 0 then
  local removed = redis.call('XDEL', stream, unpack(over))
  redis.call('HINCRBY', state, 'removed', removed)
end
return #over
