// The console: reads what is remembered, follows the stream of samples, and draws again at each.
import { element } from "./elements.js";
import { age, clock } from "./format.js";
import { Plots } from "./plots.js";

const byId = (id) => document.getElementById(id);
const STALE_MS = 15_000;

let plots = null;
let latest = null;
let heardAt = 0;

function runbookLink(slug) {
  return element("a", { href: `/console/runbooks/${slug}`, textContent: "runbook" });
}

function showHeadline({ level, text, since, do: act, runbook }) {
  const headline = byId("headline");
  const sentence = since === null ? text : `${text}. Since ${clock(since)}, ${age(latest.at - since)}.`;
  // Read aloud when it changes, not every five seconds.
  if (headline.textContent !== sentence) headline.textContent = sentence;
  headline.className = level;
  document.title = level === "alarm" ? `⚠ ${text}` : "Peakgate";
  byId("do").replaceChildren(...(act ? [act, " "] : []), ...(runbook ? [runbookLink(runbook)] : []));
}

function showAlerts(alerts) {
  byId("alerts").replaceChildren(
    ...alerts.map(({ level, text, since, runbook }) =>
      element("li", { className: level }, element("b", { textContent: level }), `${text} (${age(latest.at - since)}) `,
        ...(runbook ? [runbookLink(runbook)] : []))),
  );
}

function showWorkers(workers) {
  byId("workers").tBodies[0].replaceChildren(
    ...workers.map((worker) =>
      element("tr", {}, ...[worker.name, worker.state, worker.responds ? "yes" : "no", worker.pid, worker.restarts, worker.digest ?? "-"]
        .map((value, column) => element(column ? "td" : "th", { textContent: value })))),
  );
}

function showState() {
  const isStale = Date.now() - heardAt > STALE_MS;
  byId("state").textContent = latest === null ? "Connecting…"
    : isStale ? `No news since ${clock(latest.at)}: the control process does not answer. This page tries again by itself.`
      : `Peakgate ${plots.version}, ${clock(latest.at)}. A look every ${plots.stepS} s.`;
  byId("state").classList.toggle("alarm", isStale && latest !== null);
}

function take(sample) {
  latest = sample;
  heardAt = Date.now();
  plots.add(sample.at, sample.values);
  showHeadline(sample.headline);
  showAlerts(sample.alerts);
  showWorkers(sample.workers);
  showState();
  document.dispatchEvent(new CustomEvent("peakgate:sample", { detail: sample }));
}

async function readHistory() {
  const response = await fetch("/console/history");
  if (!response.ok) throw new Error(`status ${response.status}`);
  const history = await response.json();
  plots = new Plots(byId("plots"), history);
  plots.showDetail(byId("detail").checked);
  if (history.latest !== null) take(history.latest);
}

function follow() {
  const stream = new EventSource("/console/stream");
  stream.onmessage = async (event) => {
    const sample = JSON.parse(event.data);
    // After a break the samples in between are read again.
    if (latest !== null && sample.at - latest.at > 2 * plots.stepS) await readHistory().catch(() => {});
    take(sample);
  };
  // A stream that was refused does not come back by itself.
  stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 5000); };
}

async function start() {
  try {
    await readHistory();
    follow();
  } catch {
    setTimeout(start, 2000);
  }
}

byId("detail").addEventListener("change", (event) => plots?.showDetail(event.target.checked));
setInterval(showState, 2000);
start();
