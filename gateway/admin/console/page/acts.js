// The acts of operators: the session, the settings by hand with their buttons, and the audit log with undo.
import { Refused, get, post, readSession } from "./admin_api.js";
import { ask } from "./act_dialog.js";
import { element, row, table } from "./elements.js";
import { clock } from "./format.js";
import { ACTS, NONE, PATHS, valuesOf, words } from "./settings.js";

const REFRESH_MS = 5000;
const LOG_LENGTH = 20;
const TITLES = { switch: "Switches", drill: "Breakers", room: "Waiting rooms", event: "Events" };

const root = document.getElementById("acts");
const who = element("p", { className: "soft" });
const message = element("p");
message.setAttribute("role", "status");
const byHand = element("div");
const controls = element("div");
const log = element("div");
const controlsFold = element("details", {}, element("summary", { textContent: "Switches, breakers, rooms, events" }), controls);
const logFold = element("details", {}, element("summary", { textContent: "Audit log" }), log);

let mayAct = false;

async function act(title, work) {
  message.className = "";
  message.textContent = `${title}…`;
  try {
    const reply = await work();
    const failed = Object.entries(reply.workers ?? {}).filter(([, each]) => each?.error).map(([name, each]) => `${name} ${each.error}`);
    message.textContent = failed.length ? `${title}: done, except in worker ${failed.join("; ")}. It is tried again.` : `${title}: done.`;
  } catch (error) {
    message.className = "alarm";
    message.textContent = `${title}: ${error instanceof Refused ? error.message : "the control process does not answer"}`;
  }
  await refresh();
  message.scrollIntoView({ block: "nearest" });
}

function button(text, name, onclick) {
  const made = element("button", { type: "button", textContent: text, onclick });
  made.setAttribute("aria-label", `${text.replace("…", "")} ${name}`);
  return made;
}

// Settings

function settingButtons(kind, name, setting, state) {
  const before = `${state} (${words(kind, setting)})`;
  const made = ACTS[kind].map(({ button: text, fields, values, body, text: then }) => button(text, name, async () => {
    const title = `${text.replace("…", "")}: ${name}`;
    const given = await ask({ title: `${title}?`, before, after: then ?? ((read) => words(kind, values(read))), fields, expires: kind !== "event" });
    if (given === null) return;
    const { expires_in_s: seconds, ...rest } = given;
    const wanted = body ?? { ...values(rest), expires_in_s: seconds };
    await act(title, () => post(`/admin/v1/${PATHS[kind]}/${name}`, { ...wanted, expected: valuesOf(kind, setting) }));
  }));
  if (setting) made.push(withdrawButton(kind, name, setting));
  return made;
}

function withdrawButton(kind, name, setting) {
  const text = kind === "drill" ? "Release" : "Withdraw";
  return button(text, name, async () => {
    const title = `${text}: ${name}`;
    if ((await ask({ title: `${title}?`, before: words(kind, setting), after: kind === "drill" ? "it recovers by a probe" : "as in the file" })) === null) return;
    const body = kind === "drill" ? { tripped: false } : {};
    await act(title, () => post(`/admin/v1/${PATHS[kind]}/${name}`, { ...body, expected: valuesOf(kind, setting) }));
  });
}

function stateOf(kind, parts, name) {
  if (kind === "event") return parts.events.running.includes(name) ? "running" : "coming";
  const part = parts[{ switch: "switches", drill: "breakers", room: "rooms" }[kind]][name];
  if (kind === "switch") return part.enabled ? (part.percent === 100 ? "on" : `on for ${part.percent} %`) : "off";
  if (kind === "drill") return part.state;
  return `${part.enabled ? (part.rate === 0 ? "paused" : `open, ${part.rate} a second`) : "closed"}, ${part.waiting ?? 0} wait`;
}

function namesOf(kind, parts) {
  if (kind === "event") return [...parts.events.running, ...parts.events.coming];
  return Object.keys(parts[{ switch: "switches", drill: "breakers", room: "rooms" }[kind]] ?? {});
}

function settingTable(kind, parts, settings) {
  const rows = namesOf(kind, parts).map((name) => {
    const setting = settings[kind]?.[name] ?? null;
    const state = stateOf(kind, parts, name);
    const cells = [state, element("span", { className: setting ? "by-hand" : "soft", textContent: setting ? words(kind, setting) : "-" })];
    if (mayAct) cells.push(element("div", { className: "buttons" }, ...settingButtons(kind, name, setting, state)));
    return row(name, ...cells);
  });
  if (rows.length === 0) return element("p", { className: "soft", textContent: `${TITLES[kind]}: none.` });
  return table(TITLES[kind], ["name", "state", "by hand", ...(mayAct ? ["acts"] : [])], rows);
}

function showByHand(settings) {
  const items = Object.entries(settings).flatMap(([kind, named]) => Object.entries(named).map(([name, setting]) =>
    element("li", { className: "note" }, element("b", { textContent: "by hand" }), `${name}: ${words(kind, setting)} `, ...(mayAct ? [withdrawButton(kind, name, setting)] : []))));
  byHand.replaceChildren(...(items.length ? [element("ul", { className: "alerts" }, ...items)] : []));
}

// Acts of the whole gateway

const SELECTORS = { tag: "a tag", prefix: "a path prefix", url: "a whole URL" };

async function purge() {
  const fields = Object.entries(SELECTORS).map(([name, text]) => ({ name, label: `By ${text}`, type: "text", value: "" }));
  const given = await ask({
    title: "Purge stored responses?", before: "served from the caches",
    after: ({ soft }) => (soft ? "stale: fetched again, and served if that fails" : "removed; upstreams get the requests. It cannot be undone"),
    fields: [...fields, { name: "soft", label: "mark them stale instead of removing them", type: "checkbox", checked: true }],
  });
  if (given === null) return;
  const chosen = Object.keys(SELECTORS).filter((name) => given[name]).map((name) => [name, given[name]]);
  await act("Purge", () => post("/admin/v1/purge", { ...Object.fromEntries(chosen), soft: given.soft }));
}

async function reload() {
  const preview = await get("/admin/v1/reload/preview");
  const content = preview.errors.length
    ? [element("p", { className: "alarm", textContent: "The file is invalid; nothing can be reloaded:" }), element("pre", { textContent: preview.errors.join("\n") })]
    : [differences(preview.differences)];
  if (preview.needs_restart.length) content.push(element("p", { className: "note", textContent: `Changed too, and applied by a restart only: ${preview.needs_restart.join(", ")}.` }));
  const given = await ask({ title: "Reload the configuration?", before: `policies ${preview.active}`, after: preview.digest ? `policies ${preview.digest}` : "the same", content, confirm: preview.digest && "Reload" });
  if (given !== null) await act("Reload", () => post("/admin/v1/reload", { digest: preview.digest }));
}

function differences(found) {
  if (found.length === 0) return element("p", { textContent: "The policies of the file are the active ones." });
  const made = table("Differences", ["key", "now", "then"], found.map(({ key, before, after }) => row(key, before ?? "-", after ?? "-")));
  made.classList.add("differences");
  return made;
}

async function roll() {
  if ((await ask({ title: "Replace the workers one by one?", before: "the running workers", after: "new ones; no request is rejected. It cannot be undone" })) === null) return;
  await act("Roll the workers", () => post("/admin/v1/workers/replace"));
}

// The audit log

function showLog(acts) {
  const rows = acts.map((each) => {
    const change = each.kind ? `${words(each.kind, each.before)} → ${words(each.kind, each.after)}` : argumentsOf(each);
    const notes = [each.status >= 400 ? `refused (${each.status})` : null, each.undoes ? `undoes ${each.undoes}` : null, each.undone_by ? `undone by ${each.undone_by}` : null];
    const cells = [`${new Date(each.at * 1000).toLocaleDateString()} ${clock(each.at)}`, each.who, each.act, change, notes.filter(Boolean).join(", ")];
    return row(each.id, ...cells, ...(mayAct ? [each.can_undo ? undoButton(each) : ""] : []));
  });
  log.replaceChildren(table(`The last ${LOG_LENGTH} acts`, ["act", "time", "by", "what", "before → after", "", ...(mayAct ? ["undo"] : [])], rows));
}

function argumentsOf(each) {
  return Object.entries(each.arguments).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}

function undoButton(each) {
  return button("Undo", `act ${each.id}`, async () => {
    const title = `Undo act ${each.id}, ${each.act}`;
    if ((await ask({ title: `${title}?`, before: words(each.kind, each.after), after: words(each.kind, each.before) })) === null) return;
    await act(title, () => post(`/admin/v1/acts/${each.id}/undo`));
  });
}

// The section

async function refresh() {
  if (isAsking()) return;
  const status = await get("/admin/v1/status");
  const acts = logFold.open ? (await get(`/admin/v1/acts?limit=${LOG_LENGTH}`)).acts : null;
  // A dialog that was opened meanwhile gives the focus back to its button, so that button must stay.
  if (!isAsking()) keepFocus(() => draw(status, acts));
}

function isAsking() {
  return document.querySelector("dialog[open]") !== null;
}

// Buttons are made anew; the one that has the keyboard's focus gets it back.
function keepFocus(work) {
  const name = root.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  work();
  if (name !== null) [...root.querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === name)?.focus({ preventScroll: true });
}

function draw(status, acts) {
  const settings = status.manual_settings;
  showByHand(settings);
  const parts = status.workers.find((worker) => worker.parts.switches)?.parts;
  if (controlsFold.open && parts) {
    const general = element("div", { className: "buttons" }, button("Purge…", "responses", purge), button("Reload…", "the configuration", reload), button("Roll the workers", "", roll));
    controls.replaceChildren(...Object.keys(NONE).map((kind) => settingTable(kind, parts, settings)), ...(mayAct ? [general] : []));
  }
  if (acts !== null) showLog(acts);
}

async function signOut() {
  await post("/console/sign-out");
  location.assign("/console/sign-in");
}

function showSession(session) {
  mayAct = session.signed_in && session.role === "operator";
  who.replaceChildren(
    session.signed_in ? `Signed in as ${session.name}, ${session.role}, until ${clock(session.expires_at)}. ` : "You read with the token as a password; to act, ",
    session.signed_in ? element("button", { type: "button", textContent: "Sign out", onclick: signOut }) : element("a", { href: "/console/sign-in", textContent: "sign in" }));
}

function safely(work) {
  return () => work().catch(() => { /* The headline says that the control process does not answer. */ });
}

async function start() {
  showSession(await readSession());
  root.replaceChildren(element("h2", { textContent: "Acts" }), who, message, byHand, controlsFold, logFold);
  for (const fold of [controlsFold, logFold]) fold.addEventListener("toggle", safely(refresh));
  setInterval(safely(refresh), REFRESH_MS);
  await refresh();
}

safely(start)();
