/**
 * What a node takes and gives, written once: the short form becomes the type of the function's input, the JSON
 * Schema of the manifest, and the check of what comes in.
 *
 *     { file_url: "string", "sheet?": "string", rows: "number[]", at: { line: "integer" } }
 */
import { Failure } from "./failure.js";

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

interface Plain {
  string: string;
  number: number;
  integer: number;
  boolean: boolean;
  object: { [name: string]: Json };
  array: Json[];
  any: Json;
}

/** The type of one value: a word, a list of one (`string[]`), or fields. */
export type Type = keyof Plain | `${keyof Plain}[]` | Fields;

/** Named values; a name that ends with `?` may be left out. */
export interface Fields {
  readonly [name: string]: Type;
}

/** The TypeScript type that a `Type` describes. */
export type ValueOf<T extends Type> = T extends keyof Plain
  ? Plain[T]
  : T extends `${infer Item extends keyof Plain}[]`
    ? Plain[Item][]
    : T extends Fields
      ? ObjectOf<T>
      : never;

type ObjectOf<F extends Fields> = {
  [K in keyof F & string as K extends `${string}?` ? never : K]: ValueOf<F[K]>;
} & {
  [K in keyof F & string as K extends `${infer Name}?` ? Name : never]?: ValueOf<F[K]>;
};

/** A JSON Schema. */
export type JsonSchema = { [keyword: string]: Json };

const plain = ["string", "number", "integer", "boolean", "object", "array", "any"];

/** The JSON Schema of a type. Throws a `TypeError` for what is none. */
export function schemaOf(type: Type): JsonSchema {
  if (typeof type === "string") {
    if (type.endsWith("[]")) return { type: "array", items: schemaOf(type.slice(0, -2) as Type) };
    if (!plain.includes(type)) throw new TypeError(`unknown type ${type}; use one of ${plain.join(", ")}, or string[]`);
    return type === "any" ? {} : { type };
  }
  const properties: JsonSchema = {};
  const required: string[] = [];
  for (const { name, type: inner, optional } of fieldsOf(type)) {
    properties[name] = schemaOf(inner);
    if (!optional) required.push(name);
  }
  return required.length > 0 ? { type: "object", properties, required } : { type: "object", properties };
}

/**
 * Checks a value against a type. What does not fit is a `BadInput`, which never quotes the value: it may be a secret.
 * Null is as good as absent for a field that may be left out, and is taken away.
 */
export function check(type: Type, value: Json, path = ""): Json {
  if (typeof type === "string") {
    if (type.endsWith("[]")) {
      const item = type.slice(0, -2) as Type;
      return (expect("array", value, path) as Json[]).map((inner, index) => check(item, inner, `${path}[${index}]`));
    }
    return expect(type, value, path);
  }
  const given = { ...(expect("object", value, path) as { [name: string]: Json }) };
  for (const { name, type: inner, optional } of fieldsOf(type)) {
    const field = given[name];
    if (optional && (field === undefined || field === null)) {
      delete given[name];
    } else if (field === undefined) {
      throw bad(path, `\`${name}\` is missing`);
    } else {
      given[name] = check(inner, field, path === "" ? name : `${path}.${name}`);
    }
  }
  return given;
}

function fieldsOf(fields: Fields): { name: string; type: Type; optional: boolean }[] {
  return Object.entries(fields).map(([written, type]) => {
    const optional = written.endsWith("?");
    return { name: optional ? written.slice(0, -1) : written, type, optional };
  });
}

function expect(wanted: string, value: Json, path: string): Json {
  const found = nameOf(value);
  // JSON has one kind of number: 2.0 is an integer.
  const fits = wanted === "any" || found === wanted || (wanted === "integer" && Number.isInteger(value));
  if (!fits) throw bad(path, `expected ${wanted}, found ${found}`);
  return value;
}

function nameOf(value: Json): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function bad(path: string, what: string): Failure {
  return Failure.badInput(path === "" ? what : `${path}: ${what}`);
}
