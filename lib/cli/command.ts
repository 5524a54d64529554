/** What every subcommand is made of, and what they share: arguments, reading a domain, printing JSON. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { DomainXmlError, HostError, UsageError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { askLibvirt } from '../guests/inquiry.js';
import { domainNamed } from '../guests/named.js';
import { oneLine, quote } from '../values/quote.js';

export interface Command {
  readonly name: string;
  /** One line for `guestwire --help`. */
  readonly summary: string;
  /** The whole of `guestwire NAME --help`. */
  readonly help: string;
  readonly options: Options;
  /** What it takes besides options; undefined: nothing. */
  readonly operand: 'guest' | 'shell' | undefined;
  /** Returns the exit status. Throws UsageError for wrong arguments, any other GuestwireError for status 1. */
  readonly run: (args: readonly string[], io: Io) => Promise<number>;
}

/** The version of every `--json` shape; it rises when a key changes its meaning or goes. */
export const JSON_VERSION = 1;

/** Options by long name, as `util.parseArgs` takes them. */
export type Options = Readonly<Record<string, {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
}>>;
type Values<T extends Options> = { readonly [K in keyof T]?: T[K]['type'] extends 'string'
  ? (T[K] extends { readonly multiple: true } ? string[] : string)
  : boolean };

interface Parsed<T extends Options> {
  readonly values: Values<T>;
  readonly positionals: readonly string[];
}

interface Given<T extends Options> extends Omit<Command, 'options' | 'operand' | 'run'> {
  readonly options: T;
  readonly operand?: 'guest' | 'shell';
  readonly run: (parsed: Parsed<T>, io: Io) => Promise<number>;
}

/**
 * Returns a command that takes the options it declares and no others, so that completion, which reads them, is right.
 */
export function command<T extends Options>({ run, operand, ...given }: Given<T>): Command {
  return { ...given, operand, run: async (args, io) => run(parse(args, given.options, operand), io) };
}

function parse<T extends Options>(args: readonly string[], options: T, operand: Command['operand']): Parsed<T> {
  const parsed = parseOrThrow(args, options);
  if (operand === undefined && parsed.positionals[0] !== undefined) throw new UsageError(`unexpected argument ${quote(parsed.positionals[0])}`);
  return parsed;
}

function parseOrThrow<T extends Options>(args: readonly string[], options: T): Parsed<T> {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
    return { values: values, positionals };
  } catch (error) {
    throw new UsageError(oneLine((error as Error).message).replace(/\.? To specify .*$/, ''), { cause: error });
  }
}

/** Returns the domain XML of `-f FILE` ('-' is standard input), or of the guest that libvirt knows. */
export async function readDomainXml(
  io: Io, file: string | undefined, positionals: readonly string[],
): Promise<string | Uint8Array> {
  const [domain, ...rest] = positionals;
  if (rest.length > 0) throw new UsageError(`give only one guest, not also ${quote(rest[0] ?? '')}`);
  if ((file === undefined) === (domain === undefined)) throw new UsageError('give either -f FILE or the name of a guest');
  if (file !== undefined) return readXmlFile(file);
  return askLibvirt(io, async (libvirt) => libvirt.domainXml(await domainNamed(libvirt, domain ?? '')));
}

function readXmlFile(file: string): Uint8Array {
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    throw new DomainXmlError(`${quote(file)} cannot be read: ${oneLine((error as Error).message)}`, { cause: error });
  }
}

/** Throws unless root runs `command`. */
export function assertRoot(command: string): void {
  if (process.geteuid?.() !== 0) throw new HostError(`'guestwire ${command}' changes this host`, { cure: 'run it as root' });
}

/** Throws unless root runs `command`: nftables and the journal answer only root. */
export function assertRootToRead(command: string): void {
  if (process.geteuid?.() !== 0) throw new HostError(`'guestwire ${command}' reads data that only root may read`, { cure: 'run it as root' });
}
