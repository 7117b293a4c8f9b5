-- Creates carts and fills each with one batch of lines, then says so.
-- Arguments: number of carts; a file with the JSON body of a batch on each line, given out in turn.

local headers = { ["Content-Type"] = "application/json" }
local batches, waiting = {}, {}
local wanted, created, filled = 0, 0, 0
local create, idle
local tried = false

function init(arguments)
  wanted = tonumber(arguments[1])
  for line in io.lines(arguments[2]) do
    batches[#batches + 1] = line
  end
  create = wrk.format("POST", "/v1/carts", headers, "{}")
  idle = wrk.format("GET", "/healthz")
end

function request()
  if not tried then
    tried = true -- wrk asks once before it begins, to see that this works, and does not send that one
    return idle
  end
  local cart = table.remove(waiting)
  if cart then
    return wrk.format("PATCH", cart .. "/lines", headers, batches[filled % #batches + 1])
  end
  if created < wanted then
    created = created + 1
    return create
  end
  return idle -- the last carts are on their way
end

function response(status, answer)
  if status == 201 then
    waiting[#waiting + 1] = answer["Location"]
  elseif status == 200 and answer["ETag"] then
    filled = filled + 1
  end
  if filled == wanted or status >= 400 then
    -- A script cannot end wrk early; whoever started it can, with SIGINT.
    io.write("ENOUGH\n")
    io.flush()
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nSUMMARY {"requests":%d,"duration_us":%d,"refused":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
