-- Plays prepared requests in turn. Argument: a file with METHOD, PATH and BODY on each line, separated by tabs.
-- Preparing them beforehand keeps the load's own cost small: it shares its core with the store.

local prepared, turn = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    local method, path, body = line:match("^(%S+)\t(%S+)\t(.*)$")
    if body == "" then
      prepared[#prepared + 1] = wrk.format(method, path)
    else
      prepared[#prepared + 1] = wrk.format(method, path, { ["Content-Type"] = "application/json" }, body)
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
