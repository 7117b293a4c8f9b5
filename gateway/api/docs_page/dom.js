// Building the page: elements are made, never parsed from text, so nothing in the document can become markup.

/** `el("a", {href: "/x", class: "plain"}, "text", child)`; attributes that are null or false are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Paragraphs, `- ` lists, `code` and **strong**: as much CommonMark as descriptions use. */
export function prose(text) {
  return (text ?? "")
    .trim()
    .split(/\n\s*\n/)
    .filter(Boolean)
    .map((block) => {
      const rows = block.split("\n");
      if (rows.every((row) => row.startsWith("- "))) return el("ul", {}, rows.map((row) => el("li", {}, inline(row.slice(2)))));
      return el("p", {}, inline(rows.join(" ")));
    });
}

/** One line of prose: `code` and **strong** become elements. */
export function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.length > 2) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return el("strong", {}, part.slice(2, -2));
    return part;
  });
}

/** Code with a button that copies it. `text` is a function: a curl line changes as the form is filled in. */
export function copyable(label, text) {
  const code = el("code", {}, text());
  const said = el("span", { class: "said", role: "status" });
  const button = el("button", { type: "button", class: "small", "aria-label": `Copy ${label}` }, "Copy");
  button.addEventListener("click", async () => {
    said.textContent = (await copy(text(), code)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { said.textContent = ""; }, 2000);
  });
  const block = el("div", { class: "code" }, el("div", { class: "code-bar" }, el("span", {}, label), said, button), el("pre", { tabindex: "0" }, code));
  return { block, refresh: () => { code.textContent = text(); } };
}

async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS there is no clipboard: mark the text so that one key press copies it.
    getSelection().selectAllChildren(shown);
    return false;
  }
}
