// The form that sends a real request, and the curl line that would send the same.

import { credentialFields, onCredentials } from "./credentials.js";
import { copyable, el } from "./dom.js";
import { exampleOf, fillPath, matchPath, mediaExample } from "./openapi.js";

const SHOWN_CHARACTERS = 200_000; // of a response; a longer one is cut so that the page stays quick
const remembered = new Map(); // ids met in answers, offered to every other form
const forms = new Set();

/** The try-it form of an operation, with its curl line above. `templates` are all paths of the document. */
export function tryIt(document, operation, templates) {
  const mediaType = Object.keys(operation.body?.content ?? {})[0] ?? "";
  const media = operation.body?.content?.[mediaType];
  const inputs = operation.parameters.map((parameter) => parameterInput(document, operation, parameter));
  const body = media ? bodyInput(document, operation, media) : null;
  const request = (options) => requestOf(operation, inputs, body, mediaType, credentialFields(document, operation, options));
  const curl = copyable("curl", () => curlLine(request({ shown: true })));
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const send = el("button", { type: "submit", class: "send" }, "Send");
  const form = el("form", { class: "try", "aria-label": `Try ${operation.method} ${operation.path}` },
    inputs.map((input) => input.row), body?.row, el("div", { class: "try-bar" }, send), answer);

  form.addEventListener("input", curl.refresh);
  onCredentials(curl.refresh);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    await show(answer, request(), operation.method, templates);
    send.disabled = false;
  });
  forms.add(() => {
    for (const input of inputs) input.recall();
    body?.recall();
    curl.refresh();
  });
  return { curl: curl.block, form };
}

function parameterInput(document, operation, parameter) {
  const id = `${operation.id}-${parameter.in}-${parameter.name}`;
  const example = parameter.example ?? Object.values(parameter.examples ?? {})[0]?.value ?? exampleOf(document, parameter.schema ?? {});
  const suggested = parameter.required && parameter.in !== "header" && !parameter.name.endsWith("_id");
  const input = el("input", {
    id, type: "text", autocomplete: "off", spellcheck: "false", required: parameter.required,
    placeholder: typeof example === "string" || typeof example === "number" ? String(example) : "",
    value: suggested ? String(example ?? "") : "",
  });
  if (parameter.name.toLowerCase() === "idempotency-key") input.value = newKey();
  const label = el("label", { for: id }, el("code", {}, parameter.name), parameter.required ? el("span", { class: "required" }, " required") : "");
  return {
    parameter,
    row: el("div", { class: "field" }, label, input),
    value: () => input.value,
    recall: () => { if (!input.value && remembered.has(parameter.name)) input.value = remembered.get(parameter.name); },
  };
}

function bodyInput(document, operation, media) {
  const id = `${operation.id}-body`;
  const example = mediaExample(document, media);
  const text = el("textarea", { id, rows: Math.min(24, pretty(example).split("\n").length), spellcheck: "false" });
  text.value = pretty(example);
  let untouched = true;
  text.addEventListener("input", () => { untouched = false; });
  return {
    row: el("div", { class: "field" }, el("label", { for: id }, "Body"), text),
    value: () => text.value,
    recall: () => {
      // An example's ids are made up: put in the ones just met, unless somebody has typed here.
      if (!untouched || example === null || typeof example !== "object" || Array.isArray(example)) return;
      const known = Object.keys(example).filter((name) => remembered.has(name));
      text.value = pretty({ ...example, ...Object.fromEntries(known.map((name) => [name, remembered.get(name)])) });
    },
  };
}

function requestOf(operation, inputs, body, mediaType, credentials) {
  const of = (place) => inputs.filter((input) => input.parameter.in === place && input.value() !== "");
  const values = Object.fromEntries(of("path").map((input) => [input.parameter.name, input.value()]));
  const query = new URLSearchParams(of("query").map((input) => [input.parameter.name, input.value()])).toString();
  const headers = { ...credentials, ...Object.fromEntries(of("header").map((input) => [input.parameter.name, input.value()])) };
  const text = body?.value() ?? "";
  if (text) headers["Content-Type"] = mediaType;
  return { method: operation.method, url: fillPath(operation.path, values) + (query && `?${query}`), headers, body: text };
}

/** A curl command that a POSIX shell reads as meant. Credentials are variables of the shell, so that none is copied along. */
function curlLine(request) {
  const quote = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const isVariable = (value) => /^(?:Bearer )?\$[A-Z_]+$/.test(value);
  const method = { GET: "", HEAD: "--head " }[request.method] ?? `-X ${request.method} `;
  const words = [`curl -i ${method}${quote(location.origin + request.url)}`];
  for (const [name, value] of Object.entries(request.headers)) words.push(isVariable(value) ? `-H "${name}: ${value}"` : `-H ${quote(`${name}: ${value}`)}`);
  if (request.body) words.push(`--data ${quote(compact(request.body))}`);
  return words.join(" \\\n  ");
}

async function show(answer, request, method, templates) {
  const stop = new AbortController();
  const head = el("p", { class: "answer-head" }, "Sending …");
  const pre = el("pre", { tabindex: "0" });
  answer.replaceChildren(head);
  const started = performance.now();
  try {
    const response = await fetch(request.url, { method, headers: request.headers, body: request.body || undefined, signal: stop.signal });
    const took = performance.now() - started;
    const kind = response.ok ? "good" : "bad";
    head.replaceChildren(el("strong", { class: kind }, `${response.status} ${response.statusText}`), ` in ${took.toFixed(1)} ms `);
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    answer.append(el("details", {}, el("summary", {}, "Headers"), el("pre", { tabindex: "0" }, headers)), pre);
    if (response.headers.get("content-type")?.startsWith("text/event-stream")) await follow(response, pre, head, stop);
    else pre.textContent = readable(await response.text());
    learn(request.url, response, templates);
  } catch (error) {
    if (error.name !== "AbortError") head.replaceChildren(el("strong", { class: "bad" }, "No answer"), ` ${error.message}`);
  }
}

/** Events appear as they come, until the stream ends or the button stops it. */
async function follow(response, pre, head, stop) {
  const button = el("button", { type: "button", class: "small", onclick: () => stop.abort() }, "Stop");
  head.append(button);
  try {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) pre.append(chunk.value);
  } finally {
    button.remove();
  }
}

/** Remember the ids in the address asked for and in `Location`, so that the next form is filled in already. */
function learn(url, response, templates) {
  if (!response.ok) return;
  const paths = [url, response.headers.get("location") ?? ""].map((address) => new URL(address || "/", location.origin).pathname);
  for (const path of paths) {
    for (const template of templates) {
      for (const [name, value] of Object.entries(matchPath(template, path) ?? {})) remembered.set(name, value);
    }
  }
  for (const refresh of forms) refresh();
}

function readable(text) {
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}\n… ${text.length - SHOWN_CHARACTERS} more characters` : text;
  try {
    return text === shown ? pretty(JSON.parse(text)) : shown;
  } catch {
    return shown;
  }
}

function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text; // sending something malformed on purpose is a fine use of this form
  }
}

export function pretty(value) {
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing without HTTPS
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
