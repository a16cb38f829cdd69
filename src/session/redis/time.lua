-- Returns Redis's own time: nodes' clocks differ, and a command may have waited in a buffer.
local function time(moved)
  return tonumber(redis.call('TIME')[1]) + tonumber(moved)
end
