/** Guests with routed links on a throw-away host, wired by the real hook. */
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Netns } from './netns.js';

export interface RoutedGuest {
  readonly name: string;
  readonly tap: string;
  readonly addresses: readonly string[];
  readonly routes?: readonly string[];
  /** Attributes of `<gw:routed>`. */
  readonly more?: string;
  readonly profile?: 'open' | 'isolated' | 'closed';
  /** What its `<gw:interface>` has besides. */
  readonly words?: string;
}

/** Returns the MAC of the guest on a tap: it follows from the tap's number. */
export function guestMac(tap: string): string {
  return `52:54:00:aa:bb:${numberOf(tap)}`;
}

function numberOf(tap: string): string {
  return tap.replace(/\D/g, '').padStart(2, '0');
}

/** Returns the guest's domain XML; its UUID, too, follows from its tap's number. */
export function guestXml({ name, tap, addresses, routes = [], more = '', profile, words = '' }: RoutedGuest): string {
  const [number, mac] = [numberOf(tap), guestMac(tap)];
  const inner = [
    ...addresses.map((address) => `<gw:ip address='${address}'/>`),
    ...routes.map((route) => `<gw:route address='${route.replace('/', "' prefix='")}'/>`),
  ].join('');
  return `<domain type='kvm'><name>${name}</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c${number}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>` +
    `<gw:interface mac='${mac}'><gw:routed${more}>${inner}</gw:routed>${profile === undefined ? '' : `<gw:policy profile='${profile}'/>`}${words}</gw:interface></gw:guestwire></metadata>` +
    `<devices><interface type='ethernet'><mac address='${mac}'/><target dev='${tap}'/></interface></devices></domain>`;
}

export type RoutedHook = (operation: string, xml: string) => { status: number | null; stdout: string; stderr: string };

/** Returns the hook of a host whose state and config are below `dir`. */
export function hookIn(host: Netns, dir: string, config?: string, path = process.env['PATH'] ?? ''): RoutedHook {
  const env = { PATH: path, GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml') };
  if (config !== undefined) writeFileSync(env.GUESTWIRE_CONFIG, config, { mode: 0o600 });
  return (operation, xml) => {
    const name = /<name>(.*?)<\/name>/.exec(xml)?.[1] ?? '';
    return host.run(resolve('hooks/qemu'), [name, operation, 'begin', '-'], { input: xml, env });
  };
}
