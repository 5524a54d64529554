/** Speaks with test/lab/frames.py: the other end of taps, and ears on the host and in the world. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Netns } from '../places/netns.js';
import { guestMac } from '../places/routed-host.js';

export interface Frames {
  /** Makes a tap and holds it, as QEMU does; what is sent from it has the MAC of its guest. */
  tap(name: string, guest?: string): Promise<void>;
  /** Gives a tap up: it is gone. */
  drop(name: string): Promise<void>;
  udp(tap: string, source: string, destination: string, text: string, port?: number): Promise<void>;
  solicit(tap: string, source: string, target: string): Promise<void>;
  /** Sends a router advertisement. Returns whether the link took it. */
  advertise(tap: string, source: string): Promise<boolean>;
  report(tap: string, source: string, group: string): Promise<void>;
  ask(tap: string, sender: string, target: string): Promise<void>;
  listen(name: string, options?: { pid?: string; dev?: string; port?: number }): Promise<void>;
  /** What came out of the tap since the last call. */
  read(tap: string): Promise<string[]>;
  /** The same, as soon as something of this kind is among it. */
  readSome(tap: string, kind: 'arp' | 'na'): Promise<string[]>;
  /** Runs `end`, which sends the text 'end' to each of `names`, and returns what they heard before, sorted. */
  heardBy(names: readonly string[], end: () => Promise<void>): Promise<string[]>;
  /** Hears all frames of a link, or those of these ethertypes that its stack takes in; joins multicast groups there. */
  sniff(
    place: string, options: { dev: string; pid?: string; protocols?: readonly number[]; groups?: readonly string[] },
  ): Promise<void>;
  /** Writes frames to a tap, then `end` to another; returns how often each arrived where, by the number on it. */
  volley(request: Volley): Promise<Record<string, Record<string, number>>>;
  /** How often each number arrived where somebody sniffs, since the last call. */
  arrived(): Promise<Record<string, Record<string, number>>>;
  close(): void;
}

export interface Volley {
  readonly tap: string;
  readonly frames: readonly Buffer[];
  /** Taps whose guests count what comes, by the name of the place. */
  readonly watched: Readonly<Record<string, string>>;
  readonly end: { readonly tap: string; readonly frame: Buffer; readonly place: string; readonly number: string };
}

export function openFrames(host: Pick<Netns, 'target' | 'sh'>): Frames {
  const child = spawn('nsenter', ['--net', '--target', host.target, 'python3', resolve('test/lab/frames.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  }) as unknown as ChildProcessWithoutNullStreams;
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const call = async (request: object): Promise<unknown> => {
    child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value } = await answers.next() as { value: string };
    const reply = JSON.parse(value) as { ok?: unknown; error?: string };
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply.ok;
  };
  const macOf = (tap: string): string => host.sh(`cat /sys/class/net/${tap}/address`).trim();
  const macs = new Map<string, string>();
  const guests = new Map<string, string>();
  const from = (tap: string): { tap: string; mac: string } => ({ tap, mac: guests.get(tap) ?? guestMac(tap) });
  const mac = (tap: string): string => {
    const known = macs.get(tap) ?? macOf(tap);
    macs.set(tap, known);
    return known;
  };
  const read = async (tap: string): Promise<string[]> => await call({ op: 'read', tap }) as string[];
  return {
    tap: async (name, guest = guestMac(name)) => {
      await call({ op: 'tap', name });
      macs.delete(name);
      guests.set(name, guest);
    },
    drop: async (name) => { await call({ op: 'close', name }); },
    udp: async (tap, src, dst, text, dport = 4000) => {
      await call({
        op: 'udp', ...from(tap), to: dst === '255.255.255.255' ? 'ff:ff:ff:ff:ff:ff' : mac(tap), src, dst, text, dport,
        sport: dport === 67 ? 68 : 4000,
      });
    },
    solicit: async (tap, src, target) => { await call({ op: 'solicit', ...from(tap), src, target }); },
    advertise: async (tap, src) => await call({ op: 'advertise', ...from(tap), src }) as boolean,
    report: async (tap, src, group) => { await call({ op: 'report', ...from(tap), src, group }); },
    ask: async (tap, sender, target) => { await call({ op: 'ask', ...from(tap), sender, target }); },
    listen: async (name, options = {}) => { await call({ op: 'listen', name, ...options }); },
    read,
    readSome: async (tap, kind) => {
      const found: string[] = [];
      return within(async () => {
        found.push(...await read(tap));
        return found.some((what) => what.startsWith(kind))
          ? found.filter((what) => !what.startsWith('unreachable'))
          : undefined;
      }, `${kind} out of ${tap}`);
    },
    heardBy: async (names, end) => {
      const heard: string[] = [];
      const waiting = new Set(names);
      await end();
      await within(async () => {
        for (const name of waiting) {
          const texts = await call({ op: 'heard', name }) as string[];
          heard.push(...texts.filter((text) => text !== 'end').map((text) => `${name}: ${text}`));
          if (texts.includes('end')) waiting.delete(name);
        }
        return waiting.size === 0 ? true : undefined;
      }, `the end to be heard by ${names.join(' and ')}`);
      return heard.sort();
    },
    sniff: async (name, options) => { await call({ op: 'sniff', name, ...options }); },
    volley: async ({ frames, end, ...rest }) => await call({
      op: 'volley', ...rest,
      frames: frames.map((frame) => frame.toString('hex')), end: { ...end, frame: end.frame.toString('hex') },
    }) as Record<string, Record<string, number>>,
    arrived: async () => await call({ op: 'arrived' }) as Record<string, Record<string, number>>,
    close: () => { child.stdin.end(); },
  };
}

async function within<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  const until = Date.now() + 20_000;
  while (Date.now() < until) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(20);
  }
  throw new Error(`waited in vain for ${what}`);
}
