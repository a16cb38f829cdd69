-- The tombstones of a bucket are one string of 20 bytes each, in the order in which they were set: a session's id, and until when the
-- session could have lived.
local function is_ended(tombstones, sid)
  return string.find(redis.call('GET', tombstones) or '', sid, 1, true)
end

-- Returns until when the tombstone at a place lasts, the first being at 0.
local function lasts(tombstones, place)
  local at = place * 20 + 16
  return struct.unpack('>I4', redis.call('GETRANGE', tombstones, at, at + 3))
end

-- Adds a tombstone for the next seconds. Those that are over are removed together, when a quarter of them are: each time the whole
-- string is written again, here, in replicas and in the file.
local function add_tombstone(tombstones, sid, now, lasting)
  local last = now + lasting
  local before = redis.call('APPEND', tombstones, sid .. struct.pack('>I4', last)) / 20 - 1
  if before > 0 then
    last = math.max(last, lasts(tombstones, before - 1))
    if lasts(tombstones, math.floor(before / 4)) < now then
      local all, over = redis.call('GET', tombstones), 0
      while struct.unpack('>I4', all, over + 17) < now do
        over = over + 20
      end
      redis.call('SET', tombstones, string.sub(all, over + 1))
    end
  end
  redis.call('EXPIREAT', tombstones, string.format('%d', last))
end
