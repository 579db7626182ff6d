-- Sends the bodies of a file, one a line, in turn; prints one line of JSON when done.
-- Arguments after `--`: the file. `status` counts answers that are not 2xx or 3xx, `socket` everything that went wrong
-- below HTTP. Latencies are those of all answers.
local requests, thread_count = {}, 0

function setup(thread)
  thread:set("offset", thread_count)
  thread_count = thread_count + 1
end

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  for body in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", "/predict", headers, body)
  end
  position = offset * 997
end

function request()
  position = position + 1
  return requests[position % #requests + 1]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "status": %d, "socket": %d, '
      .. '"p50_ms": %.4f, "p99_ms": %.4f, "p999_ms": %.4f, "max_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
