// Calls of the admin API by this page: with the CSRF token of the session where something changes.
let csrf = null;

export class Refused extends Error {}

export async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Refused(`${path}: status ${response.status}`);
  return response.json();
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf ?? "" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const reply = await response.json();
  if (!response.ok) throw new Refused([reply.title, reply.detail, ...(reply.errors ?? []), ...Object.values(reply.workers ?? {})].filter(Boolean).join(". "));
  return reply;
}

export async function readSession() {
  const session = await get("/admin/v1/session");
  csrf = session.csrf;
  return session;
}
