// Settings as people read them, and those that an operator may make: what is said in the dialog is what is sent.
import { clock } from "./format.js";

export const NONE = {
  switch: { enabled: null, percent: null },
  drill: { tripped: false, reason: null },
  room: { enabled: null, admissions_per_s: null },
  event: { start: null, end: null },
};
export const PATHS = { switch: "switches", drill: "drills", room: "rooms", event: "events", reload: "reload" };

const WORDS = {
  switch: ({ enabled, percent }) => [enabled === null ? null : enabled ? "on" : "off", percent === null ? null : `for ${percent} % of clients`],
  drill: ({ tripped, reason }) => [tripped ? "held open" : null, reason ? `(${reason})` : null],
  room: ({ enabled, admissions_per_s: rate }) => [enabled === null ? null : enabled ? "open" : "closed", rate === null ? null : rate === 0 ? "paused" : `admits ${rate} a second`],
  event: ({ start, end }) => [start === null ? null : `started ${clock(start)}`, end === null ? null : `ended ${clock(end)}`],
  reload: ({ digest }) => [`policies ${digest}`],
};

// The text of a setting by hand; null is none.
export function words(kind, setting) {
  const none = kind === "drill" ? "not held open" : "as in the file";
  if (setting === null || setting === undefined) return none;
  const text = (WORDS[kind] ?? ((each) => [JSON.stringify(each)]))(setting).filter(Boolean).join(", ") || none;
  return setting.until ? `${text}, until ${clock(setting.until)}` : text;
}

export function valuesOf(kind, setting) {
  if (!setting) return NONE[kind];
  const { until: _until, ...values } = setting;
  return values;
}

// The acts of a kind: their button, their fields, and the values that they set; `name` is of the switch, room and so on.
export const ACTS = {
  switch: [
    { button: "Turn off", values: () => ({ enabled: false, percent: null }) },
    { button: "Turn on", values: () => ({ enabled: true, percent: null }) },
    { button: "Share…", fields: [{ name: "percent", label: "Percentage of clients that have it", type: "number", min: 0, max: 100, step: "any", value: 50, required: true }],
      values: ({ percent }) => ({ enabled: true, percent }) },
  ],
  drill: [
    { button: "Trip", fields: [{ name: "reason", label: "Reason, for the log", type: "text", maxLength: 200, value: "" }],
      values: ({ reason }) => ({ tripped: true, reason: reason || null }) },
  ],
  room: [
    { button: "Pause", values: () => ({ enabled: true, admissions_per_s: 0 }) },
    { button: "Open", values: () => ({ enabled: true, admissions_per_s: null }) },
    { button: "Close", values: () => ({ enabled: false, admissions_per_s: null }) },
    { button: "Rate…", fields: [{ name: "rate", label: "Clients admitted each second", type: "number", min: 0, max: 1e6, step: "any", value: 10, required: true }],
      values: ({ rate }) => ({ enabled: true, admissions_per_s: rate }) },
  ],
  event: [
    { button: "Start now", body: { running: true }, text: "running, until its end" },
    { button: "End now", body: { running: false }, text: "ended" },
  ],
};
