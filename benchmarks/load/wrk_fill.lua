-- Creates carts and fills each with one batch of lines, then prints ENOUGH.
-- Arguments: number of carts; a file with the JSON body of a batch on each line, used in turn.

local headers = { ["Content-Type"] = "application/json" }
local batches, empty_carts = {}, {}
local wanted, created, filled = 0, 0, 0
local create, idle
local is_probed = false

function init(arguments)
  wanted = tonumber(arguments[1])
  for line in io.lines(arguments[2]) do
    batches[#batches + 1] = line
  end
  create = wrk.format("POST", "/v1/carts", headers, "{}")
  idle = wrk.format("GET", "/healthz")
end

function request()
  if not is_probed then
    is_probed = true -- wrk calls this once before it begins and does not send the result
    return idle
  end
  local cart = table.remove(empty_carts)
  if cart then
    return wrk.format("PATCH", cart .. "/lines", headers, batches[filled % #batches + 1])
  end
  if created < wanted then
    created = created + 1
    return create
  end
  return idle -- the last carts are being created
end

function response(status, fields)
  if status == 201 then
    empty_carts[#empty_carts + 1] = fields["Location"]
  elseif status == 200 and fields["ETag"] then
    filled = filled + 1
  end
  if filled == wanted or status >= 400 then
    -- A script cannot stop wrk; the process that started it sends SIGINT.
    io.write("ENOUGH\n")
    io.flush()
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nSUMMARY {"requests":%d,"duration_us":%d,"errors":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
