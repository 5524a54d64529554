/**
 * Names of links. They reach command lines, batches and paths under /proc/sys, so they are held to a narrower grammar
 * than the kernel's, which takes any byte but '/', ':' and white space.
 */
import { ValueError } from '../errors.js';
import { quote } from './quote.js';

/** IFNAMSIZ less its terminating zero (linux/if.h). */
const LONGEST = 15;

/** Names of /proc/sys/net/ipv4/conf/ that are settings of every link; the kernel gives no link such a name. */
const SETTINGS = new Set(['all', 'default']);

/** Throws ValueError when no link can have the name `text`, or a tool could take it for something else. */
export function assertIfname(text: string): void {
  const name = `interface name ${quote(text)}`;
  if (text === '') throw new ValueError(`${name} is empty`);
  const odd = /[^A-Za-z0-9_.+-]/u.exec(text)?.[0];
  if (odd !== undefined) {
    throw new ValueError(`${name} contains ${quote(odd)}: allowed are letters, digits, '_', '.', '+' and '-'`);
  }
  if (text.length > LONGEST) {
    throw new ValueError(`${name} has ${text.length} characters: the kernel accepts at most ${LONGEST}`);
  }
  if (/^[0-9]+$/.test(text)) throw new ValueError(`${name} is a number: nft would take it for the index of another link`);
  if (text.startsWith('-')) throw new ValueError(`${name} starts with a dash: tools would read it as an option`);
  if (text.startsWith('.')) throw new ValueError(`${name} starts with a dot: it would be a path, not a name`);
  if (SETTINGS.has(text)) throw new ValueError(`${name} is reserved: the kernel uses it for the settings of all links`);
}
