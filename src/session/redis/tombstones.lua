-- The tombstones of a bucket are one string of 20 bytes each: a session's id, and until when the session could have lived.
local function is_ended(tombstones, sid)
  return string.find(redis.call('GET', tombstones) or '', sid, 1, true)
end

-- Adds a tombstone for the next seconds, and removes those that are over.
local function add_tombstone(tombstones, sid, now, lasting)
  local known = redis.call('GET', tombstones) or ''
  if string.find(known, sid, 1, true) then
    return
  end
  local over, last = 0, now + lasting
  while over < #known and struct.unpack('>I4', known, over + 17) < now do
    over = over + 20
  end
  local added = sid .. struct.pack('>I4', last)
  if over > 0 then
    redis.call('SET', tombstones, string.sub(known, over + 1) .. added)
  else
    redis.call('APPEND', tombstones, added)
  end
  if #known > 0 then
    last = math.max(last, struct.unpack('>I4', known, #known - 3))
  end
  redis.call('EXPIREAT', tombstones, string.format('%d', last))
end
