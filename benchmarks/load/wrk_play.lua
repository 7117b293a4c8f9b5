-- Plays prepared requests in turn. Argument: a file with METHOD, PATH, FIELDS and BODY on each line, separated by tabs; fields
-- are `Name: value`, separated by U+001F.
-- Preparing them beforehand keeps the load's own cost small: it shares its core with the store.

local prepared, turn = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    local method, path, fields, body = line:match("^(%S+)\t(%S+)\t([^\t]*)\t(.*)$")
    local headers = {}
    for name, value in fields:gmatch("([^\31:]+): ([^\31]*)") do
      headers[name] = value
    end
    if body == "" then
      prepared[#prepared + 1] = wrk.format(method, path, headers)
    else
      headers["Content-Type"] = "application/json"
      prepared[#prepared + 1] = wrk.format(method, path, headers, body)
    end
  end
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nSUMMARY {"requests":%d,"duration_us":%d,"refused":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
