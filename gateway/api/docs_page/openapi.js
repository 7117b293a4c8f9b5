// Reading an OpenAPI 3.1 document: everything here is a pure function of the document, without the page.

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
const DEEPEST = 8; // a schema may refer to itself; no body of this API is nested deeper

/** Follow `$ref` until there is none. Unknown or circular references give an empty object. */
export function resolve(document, node) {
  const seen = new Set();
  let current = node;
  while (current && typeof current === "object" && typeof current.$ref === "string") {
    if (seen.has(current.$ref) || !current.$ref.startsWith("#/")) return {};
    seen.add(current.$ref);
    const path = current.$ref.slice(2).split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    current = path.reduce((place, part) => place?.[part], document);
  }
  return current ?? {};
}

/** The last part of a reference: the name a schema goes by. */
export function refName(node) {
  return typeof node?.$ref === "string" ? node.$ref.split("/").at(-1) : "";
}

/**
 * All operations in the order of the document:
 * `{id, method, path, tag, summary, description, parameters, body, responses, deprecated, security}`.
 */
export function operations(document) {
  const found = [];
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = item[method];
      found.push({
        id: operation.operationId ?? `${method}-${path.replaceAll(/[^a-zA-Z0-9]+/g, "-")}`,
        method: method.toUpperCase(),
        path,
        tag: operation.tags?.[0] ?? "Other",
        summary: operation.summary ?? "",
        description: operation.description ?? "",
        deprecated: operation.deprecated === true,
        security: operation.security,
        parameters: parametersOf(document, item, operation),
        body: operation.requestBody ? resolve(document, operation.requestBody) : null,
        responses: responsesOf(document, operation),
      });
    }
  }
  return found;
}

/** Operations by tag: the document's order of tags first, then any others as they come. */
export function byTag(document, list) {
  const groups = new Map();
  for (const tag of document.tags ?? []) groups.set(tag.name, { name: tag.name, description: tag.description ?? "", list: [] });
  for (const operation of list) {
    if (!groups.has(operation.tag)) groups.set(operation.tag, { name: operation.tag, description: "", list: [] });
    groups.get(operation.tag).list.push(operation);
  }
  return [...groups.values()].filter((group) => group.list.length > 0);
}

function parametersOf(document, item, operation) {
  const named = new Map();
  for (const raw of [...(item.parameters ?? []), ...(operation.parameters ?? [])]) {
    const parameter = resolve(document, raw);
    named.set(`${parameter.in} ${parameter.name}`, parameter); // an operation's own wins over its path's
  }
  return [...named.values()];
}

function responsesOf(document, operation) {
  return Object.entries(operation.responses ?? {}).map(([status, raw]) => {
    const response = resolve(document, raw);
    const [mediaType, media] = Object.entries(response.content ?? {})[0] ?? ["", null];
    return { status, description: response.description ?? "", headers: response.headers ?? {}, mediaType, media };
  });
}

/** What a schema is, in a few words: `string`, `Money`, `array of Line`, `integer or null`, `"sum" | "max"`. */
export function typeName(document, schema, depth = 0) {
  if (schema === true || schema === undefined || depth > DEEPEST) return "anything";
  if (refName(schema)) return refName(schema);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map((choice) => typeName(document, choice, depth + 1)).join(" or ");
  if (schema.allOf?.length === 1) return typeName(document, schema.allOf[0], depth + 1);
  const types = [schema.type ?? (schema.properties ? "object" : "anything")].flat();
  return types
    .map((type) => (type === "array" ? `array of ${typeName(document, schema.items ?? true, depth + 1)}` : type))
    .join(" or ");
}

/** The limits of a value in words, such as `1 to 10,000` or `at most 64 characters`. */
export function limits(schema) {
  const words = [];
  const number = (value) => value.toLocaleString("en");
  const range = (from, to, unit) => {
    if (from !== undefined && to !== undefined) words.push(`${number(from)} to ${number(to)}${unit}`);
    else if (from !== undefined) words.push(`at least ${number(from)}${unit}`);
    else if (to !== undefined) words.push(`at most ${number(to)}${unit}`);
  };
  range(schema.minimum, schema.maximum, "");
  range(schema.minLength, schema.maxLength, " characters");
  range(schema.minItems, schema.maxItems, " items");
  if (schema.format) words.push(schema.format);
  if (schema.pattern) words.push(`matches ${schema.pattern}`);
  if (schema.default !== undefined) words.push(`default ${JSON.stringify(schema.default)}`);
  return words;
}

/** The schema with its reference followed and its `allOf` and nullable alternatives folded into one object. */
export function flatten(document, raw, depth = 0) {
  const schema = resolve(document, raw);
  if (depth > DEEPEST) return {};
  const parts = schema.allOf ?? (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => choice.type !== "null");
  if (parts.length === 0 || (!schema.allOf && parts.length > 1)) return schema;
  return parts.reduce((whole, part) => {
    const other = flatten(document, part, depth + 1);
    return {
      ...whole,
      ...other,
      properties: { ...whole.properties, ...other.properties },
      required: [...(whole.required ?? []), ...(other.required ?? [])],
    };
  }, schema);
}

/** An example value: the author's where there is one, else one made from the schema. */
export function exampleOf(document, raw, depth = 0) {
  const schema = flatten(document, raw);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (depth > DEEPEST) return null;
  const choice = (schema.oneOf ?? schema.anyOf)?.[0];
  if (choice) return exampleOf(document, choice, depth + 1);
  const type = [schema.type].flat()[0] ?? (schema.properties ? "object" : undefined);
  if (type === "object") {
    const entries = Object.entries(schema.properties ?? {});
    return Object.fromEntries(entries.map(([name, property]) => [name, exampleOf(document, property, depth + 1)]));
  }
  if (type === "array") return [exampleOf(document, schema.items ?? {}, depth + 1)];
  if (type === "integer" || type === "number") return schema.minimum ?? 1;
  if (type === "boolean") return true;
  if (type === "string") return { "date-time": "2026-11-27T06:00:00.000Z", email: "ada@example.com" }[schema.format] ?? "string";
  return null;
}

/** The example of a media type object: its own first, then its schema's. */
export function mediaExample(document, media) {
  if (!media) return undefined;
  if (media.example !== undefined) return media.example;
  const named = Object.values(media.examples ?? {})[0];
  if (named) return resolve(document, named).value;
  return media.schema ? exampleOf(document, media.schema) : undefined;
}

/** All named examples of a media type object as `[name, value]`. */
export function namedExamples(document, media) {
  return Object.entries(media?.examples ?? {}).map(([name, raw]) => [name, resolve(document, raw).value]);
}

/** `/v1/carts/{cart_id}` with its values filled in; a missing value stays as `{name}`. */
export function fillPath(path, values) {
  return path.replaceAll(/\{(\w+)\}/g, (whole, name) => (values[name] ? encodeURIComponent(values[name]) : whole));
}

/** The parameters that a concrete path gives to a template, or null if it is not of that form. */
export function matchPath(template, path) {
  const names = [];
  const pattern = template
    .split(/(\{\w+\})/)
    .map((part) => {
      if (!part.startsWith("{")) return part.replaceAll(/[.*+?^$()|[\]\\{}]/g, String.raw`\$&`);
      names.push(part.slice(1, -1));
      return "([^/]+)";
    })
    .join("");
  const match = new RegExp(`^${pattern}$`).exec(path);
  return match && Object.fromEntries(names.map((name, index) => [name, decodeURIComponent(match[index + 1])]));
}
