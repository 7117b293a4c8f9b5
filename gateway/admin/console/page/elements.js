// Elements of the page, made from text: nothing is ever parsed as HTML.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function table(caption, columns, rows) {
  return element("div", { className: "scroll" },
    element("table", {},
      element("caption", { textContent: caption }),
      element("thead", {}, element("tr", {}, ...columns.map((column) => element("th", { scope: "col", textContent: column })))),
      element("tbody", {}, ...rows)));
}

export function row(heading, ...cells) {
  return element("tr", {}, element("th", { scope: "row", textContent: heading }),
    ...cells.map((cell) => element("td", {}, ...[cell].flat())));
}
