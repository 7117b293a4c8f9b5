// The API page: reads /openapi.json and lays it out by tag. Served by the gateway itself; loads nothing from elsewhere.

import { credentialInputs } from "./credentials.js";
import { copyable, el, inline, prose } from "./dom.js";
import { byTag, flatten, limits, mediaExample, namedExamples, operations, refName, resolve, typeName } from "./openapi.js";
import { pretty, tryIt } from "./tryit.js";

const PROBLEM = "application/problem+json";
const place = (id) => document.getElementById(id);

/** A schema as a table: one row a member, members of members below it in their own table. */
function schemaTable(api, raw, above = []) {
  const schema = flatten(api, raw);
  if ([schema.type].flat().includes("array")) return schemaTable(api, schema.items ?? {}, above);
  const members = Object.entries(schema.properties ?? {});
  if (members.length === 0) return null;
  const rows = members.map(([name, member]) => memberRow(api, name, member, schema.required ?? [], above));
  return el("div", { class: "table" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Member", "Type", "Meaning"].map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, rows)));
}

function memberRow(api, name, raw, required, above) {
  const schema = flatten(api, raw);
  const inner = schemaName(api, raw);
  const nested = (inner && above.includes(inner)) || above.length > 4 ? null : schemaTable(api, raw, [...above, inner]);
  return el("tr", {},
    el("th", { scope: "row" }, el("code", {}, name), required.includes(name) ? "" : el("span", { class: "optional" }, " optional")),
    el("td", {}, el("span", { class: "type" }, typeName(api, raw))),
    el("td", {}, prose(resolve(api, raw).description ?? schema.description), limitsLine(schema),
      nested ? el("details", {}, el("summary", {}, `Members of ${inner || name}`), nested) : null));
}

/** The name of the schema that the rows of a member come from: its own or its items'. */
function schemaName(api, raw) {
  return refName(raw) || refName(flatten(api, raw).items) || "";
}

function limitsLine(schema) {
  const words = limits(schema);
  return words.length ? el("p", { class: "limits" }, words.join(", ")) : null;
}

function parameterTable(api, parameters) {
  if (parameters.length === 0) return null;
  const rows = parameters.map((parameter) => {
    const schema = flatten(api, parameter.schema ?? {});
    return el("tr", {},
      el("th", { scope: "row" }, el("code", {}, parameter.name), parameter.required ? "" : el("span", { class: "optional" }, " optional")),
      el("td", {}, parameter.in),
      el("td", {}, el("span", { class: "type" }, typeName(api, parameter.schema ?? {}))),
      el("td", {}, prose(parameter.description ?? schema.description), limitsLine(schema)));
  });
  return el("section", {}, el("h3", {}, "Parameters"), el("div", { class: "table" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Name", "In", "Type", "Meaning"].map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, rows))));
}

function bodySection(api, body) {
  const [mediaType, media] = Object.entries(body?.content ?? {})[0] ?? [];
  if (!media) return null;
  return el("section", {}, el("h3", {}, "Body ", el("code", {}, mediaType)), prose(body.description),
    schemaTable(api, media.schema ?? {}, [schemaName(api, media.schema)]));
}

function responseBlock(api, response) {
  const named = namedExamples(api, response.media);
  const examples = named.length ? named : [["Example", mediaExample(api, response.media)]];
  const schema = response.media?.schema;
  const headers = Object.entries(response.headers).map(([name, raw]) =>
    el("li", {}, el("code", {}, name), " ", inline(resolve(api, raw).description ?? "")));
  const inner = [
    headers.length ? el("ul", { class: "headers" }, headers) : null,
    schema ? schemaTable(api, schema, [schemaName(api, schema)]) : null,
    examples.filter(([, value]) => value !== undefined).map(([name, value]) =>
      copyable(name, () => (typeof value === "string" ? value : pretty(value))).block),
  ];
  const kind = response.status.startsWith("2") || response.status.startsWith("3") ? "good" : "bad";
  const title = [el("strong", { class: kind }, response.status), " ", el("span", {}, inline(response.description))];
  if (inner.flat().every((part) => part === null)) return el("div", { class: "response" }, title);
  return el("details", { class: "response" }, el("summary", {}, title), inner);
}

function operationBlock(api, operation, templates) {
  const { curl, form } = tryIt(api, operation, templates);
  const answers = operation.responses.filter((response) => response.mediaType !== PROBLEM);
  const problems = operation.responses.filter((response) => response.mediaType === PROBLEM);
  const responses = (title, list) => list.length
    ? el("section", {}, el("h3", {}, title), list.map((response) => responseBlock(api, response))) : null;
  return el("details", { class: "operation", id: operation.id },
    el("summary", {}, el("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method),
      el("code", { class: "path" }, operation.path), el("span", { class: "summary" }, operation.summary),
      operation.deprecated ? el("span", { class: "pill" }, "deprecated") : null),
    el("div", { class: "inside" }, prose(operation.description), curl,
      parameterTable(api, operation.parameters), bodySection(api, operation.body),
      el("section", {}, el("h3", {}, "Try it"), form),
      responses("Answers", answers), responses("Problems", problems)));
}

function contents(groups) {
  return groups.map((group) => el("section", {}, el("h2", {}, group.name), el("ul", {},
    group.list.map((operation) => el("li", { "data-find": `${operation.method} ${operation.path} ${operation.summary} ${group.name}`.toLowerCase() },
      el("a", { href: `#${operation.id}` }, el("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method),
        el("span", { class: "path" }, operation.path.replace(/^\/v\d+/, ""))))))));
}

/** An address such as /docs#create-cart opens that operation. */
function openAddressed() {
  const target = place(decodeURIComponent(location.hash.slice(1)));
  if (!target?.classList.contains("operation")) return;
  target.open = true;
  target.scrollIntoView();
}

/** Keep what holds all the words, in the list at the side and on the page. */
function narrow() {
  const words = place("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll("[data-find]")) {
    item.hidden = !words.every((word) => item.dataset.find.includes(word));
    place(item.querySelector("a").hash.slice(1)).hidden = item.hidden;
  }
  for (const group of document.querySelectorAll("#contents section, section.tag")) {
    group.hidden = !group.querySelector("li[data-find]:not([hidden]), details.operation:not([hidden])");
  }
}

function lay(api) {
  const list = operations(api);
  const groups = byTag(api, list);
  const templates = Object.keys(api.paths ?? {}).filter((path) => path.includes("{"));
  document.title = `${api.info?.title ?? "API"} reference`;
  place("title").textContent = api.info?.title ?? "API reference";
  place("version").textContent = api.info?.version ?? "";
  place("intro").replaceChildren(...prose(api.info?.description));
  place("credentials").replaceChildren(...credentialInputs(api));
  place("contents").replaceChildren(...contents(groups));
  place("operations").append(...groups.map((group) => el("section", { class: "tag", "aria-label": group.name },
    el("h2", {}, group.name), prose(group.description), group.list.map((operation) => operationBlock(api, operation, templates)))));
  place("filter").addEventListener("input", narrow);
  addEventListener("hashchange", openAddressed);
  openAddressed();
}

async function main() {
  const status = place("status");
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`/openapi.json answered ${response.status}`);
    lay(await response.json());
    status.remove();
  } catch (error) {
    status.replaceChildren(`The description of the API could not be read: ${error.message}. `,
      el("button", { type: "button", class: "small", onclick: () => location.reload() }, "Try again"));
  }
}

main();
