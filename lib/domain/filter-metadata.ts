/**
 * The filter words of one NIC, as metadata and <filterref> write them.
 */
import { locate, ValueError } from '../errors.js';
import { declaredOf, type FilterWords, groupNames, someOf, type TrustWords } from '../intent/filter-words.js';
import { allowOf, itemsOf } from '../intent/permission.js';
import { PROFILES, TRUST_WORDS } from '../intent/policy.js';
import { type Address, type Family, ownOf, parseAddress } from '../values/address.js';
import { quote } from '../values/quote.js';
import type { Filterref } from './domain.js';
import type { FilterMetadata } from './metadata.js';

/** Returns what the metadata says. Throws ValueError. */
export function wordsOfMetadata({ trust, allows, policy, groups, ips }: FilterMetadata): FilterWords {
  return {
    trust: trust && locate(ValueError, '<gw:trust>', () => readTrust(trust)),
    allows: someOf(allows.map((written, index) => locate(ValueError, `<gw:allow> ${index + 1}`, () => allowOf({
      ...written, port: written.port === undefined ? undefined : itemsOf(written.port),
      from: written.from === undefined ? undefined : itemsOf(written.from),
      to: written.to === undefined ? undefined : itemsOf(written.to),
    }, `<gw:allow> ${index + 1} in its metadata`)))),
    ...(policy && locate(ValueError, '<gw:policy>', () => policyOf(policy))),
    groups: locate(ValueError, '<gw:group>', () => groupNames(groups)),
    ips: locate(ValueError, '<gw:ip>', () => declaredOf(ips.map(({ address, prefix }) =>
      ownOf(parseAddress(address), prefix)))),
  };
}

/**
 * Returns what libvirt's `<filterref>` declares: parameters IP and IPV6, each of which may repeat. Throws ValueError.
 */
export function wordsOfFilterref(filterref: Filterref | undefined): FilterWords {
  const parameters = (filterref?.parameters ?? []).filter(({ name }) => FAMILIES.has(name));
  return {
    ips: locate(ValueError, '<filterref>', () => declaredOf(parameters.map(({ name, value }) =>
      locate(ValueError, `parameter '${name}'`, () => parseOwnAddress(value, FAMILIES.get(name)))))),
  };
}

/** By the names that nwfilter gives the addresses of a guest. */
const FAMILIES: ReadonlyMap<string, Family> = new Map([['IP', 'inet'], ['IPV6', 'inet6']]);

function parseOwnAddress(text: string, family: Family | undefined): Address {
  const address = parseAddress(text);
  if (address.family === family) return address;
  throw new ValueError(`${quote(text)} is an ${family === 'inet' ? 'IPv6' : 'IPv4'} address: name the parameter '${family === 'inet' ? 'IPV6' : 'IP'}'`);
}

function readTrust(written: NonNullable<FilterMetadata['trust']>): TrustWords {
  const words = TRUST_WORDS.flatMap((word) => {
    const text = written[word];
    return text === undefined ? [] : [[word, yesOrNo(word, text)] as const];
  });
  if (words.length === 0) throw new ValueError(`no attribute is set: add one of ${TRUST_WORDS.map((word) => `${word}='yes'`).join(', ')}, or remove it`);
  return Object.fromEntries(words);
}

function policyOf({ profile, log }: NonNullable<FilterMetadata['policy']>): Pick<FilterWords, 'profile' | 'log'> {
  if (profile === undefined && log === undefined) throw new ValueError("no attribute is set: add profile='isolated' or log='yes', or remove it");
  const known = PROFILES.find((word) => word === profile);
  if (profile !== undefined && known === undefined) throw new ValueError(`profile ${quote(profile)} is not one of ${PROFILES.map(quote).join(', ')}`);
  return { profile: known, log: log === undefined ? undefined : yesOrNo('log', log) };
}

function yesOrNo(name: string, text: string): boolean {
  if (text !== 'yes' && text !== 'no') throw new ValueError(`${name}=${quote(text)} is neither 'yes' nor 'no'`);
  return text === 'yes';
}
