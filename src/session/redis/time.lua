-- The time is Redis's own: a command may have waited long in its buffers, and nodes' clocks differ.
local function time(moved)
  return tonumber(redis.call('TIME')[1]) + tonumber(moved)
end
