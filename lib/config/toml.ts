/**
 * TOML tables against schemas, with messages for the person who wrote the file: the table as its header, the key, what
 * stands there and what is wanted. The schemas' own messages are what they want, in words.
 */
import { parse, TomlError } from 'smol-toml';
import * as z from 'zod/mini';
import { locate, ValueError } from '../errors.js';
import { repeated } from '../values/lists.js';
import { oneLine, quote } from '../values/quote.js';

/** A table as smol-toml makes it, without a prototype: any key is only a key, `__proto__` too. */
export type Table = Readonly<Record<string, unknown>>;

/**
 * Schema of a table with keys that the user chooses, left unread for mapOf(): zod's own records drop the key
 * `__proto__`, and a guest may have that name.
 */
export const namedTables = z.custom<Table>(isTable, 'a table');

/** Where in a document: the keys down to a table, as its header has them. */
export type TablePath = readonly string[];

/** Returns the document that `text` writes. Throws ValueError that begins with the line and column. */
export function readToml(text: string): Table {
  try {
    return parse(text);
  } catch (error) {
    // An unintended error of the parser is still a file that cannot be read, and must not pass for a bug of guestwire.
    if (!(error instanceof TomlError)) throw new ValueError(`not readable as TOML: ${oneLine(String(error))}`, { cause: error });
    const [words = ''] = error.message.replace('Invalid TOML document: ', '').split('\n', 1);
    throw new ValueError(`line ${error.line} column ${error.column}: ${oneLine(words)}`, { cause: error });
  }
}

/** Returns the schema of a table with these keys and no others. */
export function table<T extends z.core.$ZodShape>(shape: T) {
  const allowed = Object.keys(shape).map(quote).join(', ');
  return z.strictObject(shape, {
    error: (issue) => issue.code === 'unrecognized_keys'
      ? `unknown key ${quote(issue.keys[0] ?? '')}: allowed are ${allowed}`
      : 'a table',
  });
}

/**
 * Returns `value` as `schema` wants it. The first thing wrong, unknown keys before all else, is thrown as ValueError.
 */
export function read<S extends z.ZodMiniType>(schema: S, value: unknown, at: TablePath): z.infer<S> {
  // Compiling a schema pays off after many values; the hook reads one file.
  const result = z.safeParse(schema, value, { jitless: true, reportInput: true });
  if (result.success) return result.data;
  const { issues } = result.error;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw new ValueError(`${tableHeader(at)} is not valid`);
  throw new ValueError(`${place(at, issue.path)}${complaint(issue)}`);
}

/** Returns named tables as a map, each value by `value`, which is told its own path. Absent tables are an empty map. */
export function mapOf<T>(
  tables: Table | undefined,
  at: TablePath,
  value: (value: unknown, at: TablePath) => T,
): Map<string, T> {
  return new Map(Object.entries(tables ?? {}).map(([key, item]) => [key, value(item, [...at, key])]));
}

/** Returns what `value` returns; a ValueError in it gets the table and key in front. */
export function within<T>(at: TablePath, key: string, value: () => T): T {
  return locate(ValueError, `${tableHeader(at)} ${key}`, value);
}

/** Throws ValueError when a list holds a text twice. */
export function assertDistinct(list: readonly string[]): void {
  const twice = repeated(list);
  if (twice !== undefined) throw new ValueError(`${quote(twice)} is listed twice: list it once`);
}

/** Returns a table's header: `[guest.web1.'52:54:00:aa:bb:03']`. */
export function tableHeader(at: TablePath): string {
  return `[${at.map((key) => (/^[A-Za-z0-9_-]+$/.test(key) ? key : quote(key))).join('.')}]`;
}

function place(at: TablePath, path: readonly PropertyKey[]): string {
  const key = path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('').slice(1);
  const words = [...(at.length === 0 ? [] : [tableHeader(at)]), ...(key === '' ? [] : [key])];
  return `${words.length === 0 ? 'top level' : words.join(' ')}: `;
}

function complaint(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return issue.message;
  if (issue.input === undefined) return `missing, must be ${issue.message}`;
  return `must be ${issue.message}, not ${shown(issue.input)}`;
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `the text ${quote(value)}`;
  if (typeof value === 'number') return `the number '${value}'`;
  if (typeof value === 'boolean') return `'${String(value)}'`;
  if (value instanceof Date) return 'a date';
  return Array.isArray(value) ? 'a list' : 'a table';
}

function isTable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
