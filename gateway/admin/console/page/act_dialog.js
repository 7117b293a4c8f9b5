// The dialog of an act: asks once, names the act, and shows the setting before and after it.
import { element } from "./elements.js";

const EXPIRIES = [[900, "15 minutes"], [3600, "1 hour"], [8 * 3600, "8 hours"], [0, "until it is withdrawn"]];

// A field is { name, label, type, value, … }; `after` gives the text of the setting after the act from the values of the fields.
// Resolves to the values of the fields once it is confirmed, and to null otherwise.
export function ask({ title, before, after, fields = [], expires = false, content = [], confirm = "Do it" }) {
  const inputs = new Map(fields.map((field) => [field.name, input(field)]));
  if (expires) inputs.set("expires_in_s", expirySelect());
  const read = () => Object.fromEntries([...inputs].map(([name, each]) => [name, valueOf(each)]));
  const outcome = element("dd");
  const show = () => { outcome.textContent = typeof after === "function" ? after(read()) : after; };
  const isShown = before !== undefined;
  const form = element("form", { method: "dialog" },
    element("h2", { id: "act-title", textContent: title }),
    ...(isShown ? [element("dl", {}, element("dt", { textContent: "Now" }), element("dd", { textContent: before }), element("dt", { textContent: "Then" }), outcome)] : []),
    ...content,
    ...fields.map((field) => label(field.label, inputs.get(field.name))),
    ...(expires ? [label("It ends after", inputs.get("expires_in_s"))] : []),
    element("div", { className: "buttons" },
      // First, so that Enter on an opened dialog does nothing.
      element("button", { type: "button", textContent: confirm ? "Cancel" : "Close", autofocus: true, onclick: () => dialog.close("") }),
      ...(confirm ? [element("button", { value: "do", textContent: confirm })] : [])));
  const dialog = element("dialog", {}, form);
  dialog.setAttribute("aria-labelledby", "act-title");
  form.addEventListener("input", show);
  document.body.append(dialog);
  show();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "do" ? read() : null);
    }, { once: true });
  });
}

function label(text, field) {
  return field.type === "checkbox" ? element("label", {}, field, ` ${text}`) : element("label", {}, text, field);
}

function input({ label: _label, name: _name, ...properties }) {
  return element("input", properties);
}

function expirySelect() {
  const select = element("select", {}, ...EXPIRIES.map(([seconds, text]) => element("option", { value: seconds, textContent: text })));
  select.value = "3600";
  return select;
}

function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  return field.type === "number" || field.tagName === "SELECT" ? Number(field.value) : field.value.trim();
}
