// Sends the bodies of a file, one a line, at a constant rate; reports latency from the intended send time.
import exec from 'k6/execution';
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const rate = Number(__ENV.RATE);
const bodies = open(__ENV.BODIES).trim().split('\n');
const fromIntended = new Trend('from_intended');

export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ['med', 'p(99)', 'p(99.9)', 'max'],
  scenarios: {
    constant: {
      executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: 100, maxVUs: 500,
    },
  },
};

export default function () {
  const number = exec.scenario.iterationInTest;
  const late = Date.now() - exec.scenario.startTime - (number * 1000) / rate;
  const answer = http.post(__ENV.URL, bodies[number % bodies.length], { headers: { 'Content-Type': 'application/json' } });
  fromIntended.add(late + answer.timings.blocked + answer.timings.duration);
}

export function handleSummary(data) {
  const latency = data.metrics.from_intended.values;
  const dropped = data.metrics.dropped_iterations;
  return {
    stdout: `${JSON.stringify({
      requests: data.metrics.http_reqs.values.count, not_sent: dropped ? dropped.values.count : 0,
      p50_ms: latency.med, p99_ms: latency['p(99)'], p999_ms: latency['p(99.9)'], max_ms: latency.max,
    })}\n`,
  };
}
