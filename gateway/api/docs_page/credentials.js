// The access token and the API key that the forms send. They stay in this page's memory: nothing stores them.

import { el, inline } from "./dom.js";
import { resolve } from "./openapi.js";

const given = new Map(); // the value typed for each scheme, by its name
const listeners = new Set();

/** The header field that a security scheme is sent in, or null for schemes that this page cannot send. */
export function fieldOf(scheme) {
  if (scheme.type === "http" && scheme.scheme?.toLowerCase() === "bearer") return { name: "Authorization", prefix: "Bearer ", variable: "$TOKEN" };
  if (scheme.type === "apiKey" && scheme.in === "header") return { name: scheme.name, prefix: "", variable: "$API_KEY" };
  return null;
}

/** The schemes that an operation accepts: its own, or else those of the document. */
export function schemesOf(api, operation) {
  const names = new Set((operation.security ?? api.security ?? []).flatMap((choice) => Object.keys(choice)));
  const schemes = api.components?.securitySchemes ?? {};
  return [...names].filter((name) => schemes[name]).map((name) => [name, resolve(api, schemes[name])]);
}

/** The header fields of the credentials that have been typed in; `shown` has variables in place of the secrets. */
export function credentialFields(api, operation, { shown = false } = {}) {
  const fields = {};
  for (const [name, scheme] of schemesOf(api, operation)) {
    const field = fieldOf(scheme);
    const value = given.get(name);
    if (field && value) fields[field.name] = field.prefix + (shown ? field.variable : value);
  }
  return fields;
}

/** Called whenever a credential changes. */
export function onCredentials(listener) {
  listeners.add(listener);
}

/** An input for each scheme of the document. */
export function credentialInputs(api) {
  const schemes = Object.entries(api.components?.securitySchemes ?? {}).map(([name, raw]) => [name, resolve(api, raw)]);
  return schemes.filter(([, scheme]) => fieldOf(scheme)).map(([name, scheme]) => {
    const id = `credential-${name}`;
    const input = el("input", { id, type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-help` });
    input.addEventListener("input", () => {
      // A pasted token may carry the name of its scheme, or the end of a line.
      given.set(name, input.value.trim().replace(/^bearer\s+/i, ""));
      for (const listener of listeners) listener();
    });
    const title = fieldOf(scheme).name === "Authorization" ? "Access token (Bearer)" : `API key (${scheme.name})`;
    return el("div", { class: "field" }, el("label", { for: id }, title), input,
      el("p", { id: `${id}-help`, class: "limits" }, inline(scheme.description ?? "")));
  });
}
