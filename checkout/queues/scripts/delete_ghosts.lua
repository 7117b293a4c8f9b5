#!lua flags=allow-oom
-- Deletes ghosts: entries that were delivered and acknowledged, and are still in the stream.
--
-- KEYS  1 queue (stream)  2 sizes of groups (hash)
-- ARGV  1 group  2 start of the range to look at, as of XRANGE  3 maximum of entries to look at
-- Reply {number deleted, id of the last entry that was looked at, or '' at the end of the delivered ones}

local queue, group = KEYS[1], ARGV[1]

local last_delivered
for _, info in ipairs(redis.call('XINFO', 'GROUPS', queue)) do
  local by_name = {}
  for i = 1, #info, 2 do
    by_name[info[i]] = info[i + 1]
  end
  if by_name['name'] == group then
    last_delivered = by_name['last-delivered-id']
  end
end
if not last_delivered then
  return {0, ''}
end

local entries = redis.call('XRANGE', queue, ARGV[2], last_delivered, 'COUNT', ARGV[3])
if #entries == 0 then
  return {0, ''}
end
local last = entries[#entries][1]
local is_pending = {}
for _, pending in ipairs(redis.call('XPENDING', queue, group, entries[1][1], last, #entries)) do
  is_pending[pending[1]] = true
end
local deleted = 0
for _, entry in ipairs(entries) do
  local id = entry[1]
  -- Pending entries that are no longer in the stream may have filled the page, so each is looked at again.
  if not is_pending[id] and #redis.call('XPENDING', queue, group, id, id, 1) == 0 then
    deleted = deleted + redis.call('XDEL', queue, id)
    local of = entry[2][4]
    if of and redis.call('HINCRBY', KEYS[2], of, -1) <= 0 then
      redis.call('HDEL', KEYS[2], of)
    end
  end
end
return {deleted, #entries == tonumber(ARGV[3]) and last or ''}
