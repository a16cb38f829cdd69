-- Notes for a second that nodes are adding again what Redis lost. A node that starts waits as long as the note exists.
local function note_repair(repair)
  redis.call('SET', repair, 1, 'PX', 1000)
end
