-- Sends prepared requests in turn. Arguments: files of requests, one for each thread. A file has the length of a request on
-- a line, then its bytes, and so on. The requests are prepared beforehand because the load shares its core with the store.

local TRACE_ID = "Root=1-00000000-000000000000000000000000"
local threads = 0
local requests, position, trace_base, traces = {}, 0, nil, 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(arguments)
  local file = io.open(arguments[number], "rb")
  local length = file:read("*l")
  while length do
    local bytes = file:read(tonumber(length))
    local first, last = bytes:find(TRACE_ID, 1, true)
    if first then
      requests[#requests + 1] = { bytes:sub(1, first - 1), bytes:sub(last + 1) }
    else
      requests[#requests + 1] = { bytes }
    end
    length = file:read("*l")
  end
  file:close()
  math.randomseed(os.time() + number)
  trace_base = string.format("Root=1-%08x-%08x%08x", os.time(), math.random(0, 0x7fffffff), number)
end

function request()
  position = position % #requests + 1
  local prepared = requests[position]
  if not prepared[2] then
    return prepared[1]
  end
  traces = traces + 1
  return prepared[1] .. string.format("%s%08x", trace_base, traces) .. prepared[2]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nSUMMARY {"requests":%d,"duration_us":%d,"errors":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
