/** What the fake kernel knows of links that come and go, and of bridges and 802.1Q sub-interfaces among them. */
import type { FakeHost, FakeLink } from './kernel.js';
import type { Handler } from './tables.js';

/** Returns what the kernel does at the lines that make and set up bridges and sub-interfaces. */
export function bridgeHandlers(host: Required<FakeHost>, refuse: (reason: string) => never): Handler[] {
  const link = (dev: string | undefined): FakeLink =>
    host.links[dev ?? ''] ?? refuse(`Cannot find device "${dev ?? ''}"`);
  const assertFree = (dev: string): void => { if (host.links[dev] !== undefined) {
    refuse('RTNETLINK answers: File exists');
  } };
  return [
    [/^link add name (?<dev>\S+) mtu (?<mtu>\d+) type bridge$/, ({ dev = '', mtu }) => {
      assertFree(dev);
      // A bridge filters only when it is told to.
      makeLink(host, dev, { mtu: Number(mtu), bridge: { filtering: false } });
    }],
    [/^link add link (?<parent>\S+) name (?<dev>\S+) type vlan id (?<vid>\d+)$/, ({ parent = '', dev = '', vid }) => {
      assertFree(dev);
      const { mtu = 1500, mac } = link(parent);
      if (Object.values(host.links).some(({ vlan }) => vlan?.parent === parent && vlan.vid === Number(vid))) {
        refuse('RTNETLINK answers: File exists');
      }
      makeLink(host, dev, { mtu, vlan: { parent, vid: Number(vid) }, ...(mac === undefined ? {} : { mac }) });
    }],
    [/^link set dev (?<dev>\S+) address (?<mac>\S+)$/, ({ dev, mac = '' }) => { link(dev).mac = mac; }],
    [/^link set dev (?<dev>\S+) type bridge( vlan_filtering (?<filtering>[01]))? stp_state (?<stp>[01]) forward_delay (?<delay>\d+)$/, ({ dev, filtering, stp, delay }) => {
      const { bridge } = link(dev);
      if (bridge === undefined) return refuse('RTNETLINK answers: Operation not supported');
      if (filtering !== undefined) bridge.filtering = filtering === '1';
      Object.assign(bridge, { stp: stp === '1', forwardDelay: Number(delay) });
    }],
  ];
}

/** As the kernel makes one: down, and with the sysctls of every link if `default` has any. */
export function makeLink({ links, sysctls }: Required<FakeHost>, name: string, link: Omit<FakeLink, 'ifindex'>): void {
  links[name] = { ifindex: Math.max(0, ...Object.values(links).map(({ ifindex }) => ifindex)) + 1, up: false, ...link };
  for (const [path, value] of Object.entries(sysctls)) {
    if (path.includes('/default/')) sysctls[path.replace('/default/', `/${name}/`)] = value;
  }
}

/** Takes a link away with all that hangs on it. */
export function removeLink(host: Required<FakeHost>, name: string): void {
  Reflect.deleteProperty(host.links, name);
  for (const [other, { master, vlan }] of Object.entries(host.links)) {
    if (master === name) delete host.links[other]?.master;
    if (vlan?.parent === name) removeLink(host, other);
  }
  host.routes = host.routes.filter(({ dev }) => dev !== name);
  for (const path of Object.keys(host.sysctls)) {
    if (path.includes(`/${name}/`)) Reflect.deleteProperty(host.sysctls, path);
  }
}
