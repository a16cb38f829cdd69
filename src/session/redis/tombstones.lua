-- The tombstones of a bucket are one string. Each has 20 bytes: a session's id, and until when the session could have lived. They are
-- in the order in which they were set.
local function is_ended(tombstones, sid)
  return string.find(redis.call('GET', tombstones) or '', sid, 1, true)
end

-- Returns until when a tombstone lasts; the first is at place 0.
local function lasts(tombstones, place)
  local at = place * 20 + 16
  return struct.unpack('>I4', redis.call('GETRANGE', tombstones, at, at + 3))
end

-- Appends a tombstone that lasts for some seconds. Expired ones are removed together, when they are a quarter of the string, since that
-- writes the whole string again: in memory, to the replicas and to the append-only file.
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
