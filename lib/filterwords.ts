/**
 * What a source of intent says of a NIC's filters, and how the sources are merged: per element the metadata wins over
 * the host's table for this guest. The words are judged here; whether they fit the kind of attachment, in filterwish.ts.
 */
import { allowOf, groupName, itemsOf } from './allow.js';
import type { Filterref } from './domain.js';
import { locate, ValueError } from './errors.js';
import type { FilterIntent } from './metadata.js';
import { type Allow, type Profile, PROFILES, TRUST_WORDS, type TrustWord } from './policy.js';
import {
  type Address, assertOwnable, bare, type Family, hostPrefix, parseAddress, type Prefix, prefixOf,
} from './values/address.js';
import { quote } from './values/quote.js';

export type TrustWords = Readonly<Partial<Record<TrustWord, boolean | undefined>>>;

/** An element that is absent leaves the matter to the next source. */
export interface FilterWords {
  readonly trust?: TrustWords | undefined;
  /** Never empty. */
  readonly allows?: readonly Allow[] | undefined;
  readonly profile?: Profile | undefined;
  readonly log?: boolean | undefined;
  /** Never empty. */
  readonly groups?: readonly string[] | undefined;
  /** Addresses and prefixes, canonical; never empty. */
  readonly ips?: readonly string[] | undefined;
}

/** Returns what the metadata says. Throws ValueError. */
export function wordsOfMetadata({ trust, allows, policy, groups, ips }: FilterIntent): FilterWords {
  return {
    trust: trust && locate(ValueError, '<gw:trust>', () => trustOf(trust)),
    allows: someOf(allows.map((written, index) => locate(ValueError, `<gw:allow> ${index + 1}`, () => allowOf({
      ...written, port: written.port === undefined ? undefined : itemsOf(written.port),
      from: written.from === undefined ? undefined : itemsOf(written.from), to: written.to === undefined ? undefined : itemsOf(written.to),
    }, `<gw:allow> ${index + 1} in its metadata`)))),
    ...(policy && locate(ValueError, '<gw:policy>', () => policyOf(policy))),
    groups: locate(ValueError, '<gw:group>', () => groupsOf(groups)),
    ips: locate(ValueError, '<gw:ip>', () => declaredOf(ips.map(({ address, prefix }) => {
      const own = parseAddress(address);
      return prefix === undefined ? hostPrefix(own) : prefixOf(own, prefix);
    }))),
  };
}

/** Returns what libvirt's `<filterref>` declares: parameters IP and IPV6, each of which may repeat. Throws ValueError. */
export function wordsOfFilterref(filterref: Filterref | undefined): FilterWords {
  const parameters = (filterref?.parameters ?? []).filter(({ name }) => FAMILIES.has(name));
  return {
    ips: locate(ValueError, '<filterref>', () => declaredOf(parameters.map(({ name, value }) => locate(ValueError, `parameter '${name}'`, () => hostPrefix(addressOf(value, FAMILIES.get(name))))))),
  };
}

/** By the names that nwfilter gives the addresses of a guest. */
const FAMILIES: ReadonlyMap<string, Family> = new Map([['IP', 'inet'], ['IPV6', 'inet6']]);

function addressOf(text: string, family: Family | undefined): Address {
  const address = parseAddress(text);
  if (address.family === family) return address;
  throw new ValueError(`${quote(text)} is an ${family === 'inet' ? 'IPv6' : 'IPv4'} address: name the parameter '${family === 'inet' ? 'IPV6' : 'IP'}'`);
}

/** Returns addresses that a guest declares as its own, canonical; undefined for none. Throws ValueError. */
export function declaredOf(prefixes: readonly Prefix[]): string[] | undefined {
  prefixes.forEach(assertOwnable);
  const texts = prefixes.map(bare);
  assertOnce(texts);
  return someOf(texts);
}

/** Returns the names of groups; undefined for none. Throws ValueError. */
export function groupsOf(names: readonly string[]): string[] | undefined {
  const groups = names.map(groupName);
  assertOnce(groups);
  return someOf(groups);
}

function assertOnce(list: readonly string[]): void {
  const twice = list.find((item, index) => list.indexOf(item) !== index);
  if (twice !== undefined) throw new ValueError(`${quote(twice)} is listed twice: list it once`);
}

function someOf<T>(list: readonly T[]): T[] | undefined {
  return list.length === 0 ? undefined : [...list];
}

function trustOf(written: NonNullable<FilterIntent['trust']>): TrustWords {
  const words = TRUST_WORDS.flatMap((word) => {
    const text = written[word];
    return text === undefined ? [] : [[word, yesOrNo(word, text)] as const];
  });
  if (words.length === 0) throw new ValueError(`it says nothing: give it one of ${TRUST_WORDS.map((word) => `${word}='yes'`).join(', ')}, or remove it`);
  return Object.fromEntries(words);
}

function policyOf({ profile, log }: NonNullable<FilterIntent['policy']>): Pick<FilterWords, 'profile' | 'log'> {
  if (profile === undefined && log === undefined) throw new ValueError("it says nothing: give it profile='isolated' or log='yes', or remove it");
  const known = PROFILES.find((word) => word === profile);
  if (profile !== undefined && known === undefined) throw new ValueError(`profile ${quote(profile)} is none of ${PROFILES.map(quote).join(', ')}`);
  return { profile: known, log: log === undefined ? undefined : yesOrNo('log', log) };
}

function yesOrNo(name: string, text: string): boolean {
  if (text !== 'yes' && text !== 'no') throw new ValueError(`${name}=${quote(text)} is neither 'yes' nor 'no'`);
  return text === 'yes';
}
