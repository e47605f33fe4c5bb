-- Requests at an even pace, however slow the answers are: wrk -t1 -c32 -d5s -s paced.lua URL -- BODIES RATE
--
-- BODIES is a file with one body a line, RATE the number of requests a second. Each connection sends the request that is
-- due next, so a pause of the service delays all requests of that time; a request that finds no idle connection is late.
-- wrk's timers tick once a millisecond, so the requests of a millisecond are sent together, some of them too early.
-- Prints JSON: the answers, the failed requests, and in milliseconds the 99th percentile and the largest of the times
-- until a request was answered, since it was due or, where it was sent too early, since it was sent; and of the times
-- by which requests were late, which are part of these. The id of a request, which its answer repeats, names it.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } podpower_time;
  int clock_gettime(int clock, podpower_time *time);
]]
local MONOTONIC, STEPS_A_MS = 1, 100
local time = ffi.new("podpower_time")
local bodies, dues, since, began = {}, {}, {}, nil
local threads = {}
local headers = {["Content-Type"] = "application/json"}
sent, planned, late, taken = 0, 0, {}, {}

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end

local function count(counts, seconds)
  local step = math.max(0, math.floor(seconds * 1000 * STEPS_A_MS))
  counts[step] = (counts[step] or 0) + 1
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  for line in io.lines(arguments[1]) do
    table.insert(bodies, line)
  end
  rate = tonumber(arguments[2])
end

-- Milliseconds that a connection waits for the request that is due next.
function delay()
  began = began or now()
  planned = planned + 1
  dues[planned] = began + planned / rate
  return math.max(0, math.floor((dues[planned] - now()) * 1000))
end

function request()
  sent = sent + 1
  local at = now()
  local due = dues[sent] or at
  dues[sent] = nil
  count(late, at - due)
  since[sent] = math.min(at, due)
  headers["X-Request-ID"] = tostring(sent)
  return wrk.format("POST", "/predict", headers, bodies[sent % #bodies + 1])
end

function response(status, headers)
  local id = tonumber(headers["x-request-id"])
  if status == 200 and since[id] then
    count(taken, now() - since[id])
    since[id] = nil
  end
end

local function percentile(name, share)
  local counts, total, largest = {}, 0, 0
  for _, thread in ipairs(threads) do
    for step, number in pairs(thread:get(name)) do
      counts[step], total, largest = (counts[step] or 0) + number, total + number, math.max(largest, step)
    end
  end
  local left = total * share
  for step = 0, largest do
    left = left - (counts[step] or 0)
    if left <= 0 then
      return (step + 1) / STEPS_A_MS
    end
  end
  return largest / STEPS_A_MS
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"answers": %d, "failed": %d, "p50_ms": %.2f, "p99_ms": %.2f, "slowest_ms": %.2f, "late_p99_ms": %.2f}\n',
    summary.requests, failed, percentile("taken", 0.5), percentile("taken", 0.99), percentile("taken", 1),
    percentile("late", 0.99)
  ))
end
