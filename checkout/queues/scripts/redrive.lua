#!lua flags=allow-oom
-- Moves dead letters to the bulk queue, each once.
--
-- KEYS  1 dead letters (stream)  2 bulk queue (stream)
-- ARGV  entry ids
-- Reply the number that was moved

local moved = 0
for _, id in ipairs(ARGV) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    redis.call('XADD', KEYS[2], '*', 'body', entry[2][2])
    redis.call('XDEL', KEYS[1], id)
    moved = moved + 1
  end
end
return moved
