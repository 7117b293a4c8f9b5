// "Explain this request": the spans of a trace, by its id or that of a request, as a table with a bar for each time.
import { element } from "./elements.js";

const root = document.getElementById("explain");
const form = root.querySelector("form");
const answer = document.getElementById("explained");

// A client may have sent a traceparent as the id: the trace is its second part.
function idOf(text) {
  const found = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(text);
  return found ? found[1] : text;
}

function depths(spans) {
  const parents = new Map(spans.map((span) => [span.span_id, span.parent_id]));
  const depth = (id) => (parents.has(id) && parents.has(parents.get(id)) ? 1 + depth(parents.get(id)) : 0);
  return new Map(spans.map((span) => [span.span_id, depth(span.span_id)]));
}

function row(span, start, total, depth) {
  const from = ((span.start - start) * 1000) / total;
  const bar = element("meter", { min: 0, max: 1, value: span.duration_ms / total, title: `begins after ${((span.start - start) * 1000).toFixed(2)} ms` });
  const facts = Object.entries(span.attributes).map(([name, value]) => `${name}: ${value}`).join(", ");
  return element("tr", { className: span.error ? "alarm" : "" },
    element("th", { textContent: "\u2003".repeat(depth) + span.name }),
    element("td", { textContent: `${(from * total).toFixed(2)} ms` }),
    element("td", {}, `${span.duration_ms.toFixed(2)} ms `, bar),
    element("td", { textContent: span.error ? `${span.error}. ${facts}` : facts }));
}

function sentence(spans) {
  const slowest = spans.filter((span) => span.parent_id !== null).sort((a, b) => b.duration_ms - a.duration_ms)[0];
  const failed = spans.find((span) => span.error !== null);
  const parts = [`${spans[0].name}: ${spans[0].duration_ms.toFixed(2)} ms, ${spans.length} spans.`];
  if (failed) parts.push(`It failed in “${failed.name}”: ${failed.error}.`);
  if (slowest) parts.push(`Most of the time was in “${slowest.name}”.`);
  return parts.join(" ");
}

function show({ trace_id: traceId, spans }) {
  const start = Math.min(...spans.map((span) => span.start));
  const total = Math.max(...spans.map((span) => (span.start - start) * 1000 + span.duration_ms), 0.001);
  const depth = depths(spans);
  answer.replaceChildren(
    element("p", { textContent: sentence(spans) }),
    element("p", { className: "soft", textContent: `Trace ${traceId}` }),
    element("div", { className: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["span", "begins after", "takes", "facts"].map((textContent) => element("th", { textContent })))),
      element("tbody", {}, ...spans.map((span) => row(span, start, total, depth.get(span.span_id)))))));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const id = idOf(new FormData(form).get("id").trim());
  answer.replaceChildren("Looking…");
  try {
    const response = await fetch(`/admin/v1/traces/${encodeURIComponent(id)}`);
    const body = await response.json();
    if (response.ok) show(body);
    else answer.replaceChildren(`${body.title}. ${body.detail ?? ""}`);
  } catch {
    answer.replaceChildren("The control process does not answer.");
  }
});
