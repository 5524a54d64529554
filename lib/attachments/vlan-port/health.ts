/** What `doctor` finds about bridges that filter VLANs, and about their uplinks. */
import { quote, shellWord } from '../../values/quote.js';
import { formatVids } from '../../values/vlan.js';
import type { Finding, HostFacts, KindHealth } from '../health-facts.js';
import { unfiltered } from './check.js';

export const portHealth: KindHealth = {
  findings: (facts) => [...BRIDGES, ...UPLINKS].flatMap((check) => check(facts)),
};

type Check = (facts: HostFacts) => Finding[];

const BRIDGES: readonly Check[] = [
  ({ bridges, nics }) => bridges
    .filter(({ name, filtering }) => !filtering && nics.some(({ bridge, vids }) => bridge === name && vids.length > 0))
    .map(({ name }) => ({
      severity: 'error', ...unfiltered(name), why: 'guests that ask for a VLAN on it do not start',
    })),
  ({ bridges }) =>
    bridges.filter(({ filtering, defaultPvid }) => filtering && defaultPvid !== 0).map(({ name, defaultPvid }) => ({
      severity: 'warning', what: `bridge ${quote(name)} puts new ports into VLAN ${defaultPvid}`, why: 'a tap receives that VLAN until the hook runs; but the change removes that VLAN from every port that still has it, the host included',
      cure: `ip link set dev ${name} type bridge vlan_default_pvid 0`,
    })),
  ({ bridges }) =>
    bridges.filter(({ filtering, learnsLinkLocal }) => filtering && learnsLinkLocal === true).map(({ name }) => ({
      severity: 'warning', what: `bridge ${quote(name)} learns from link-local frames`, why: "no nftables hook sees frames to LLDP's group address, so a guest can use them to move another guest's MAC to its own port", cure: `ip link set dev ${name} type bridge no_linklocal_learn 1`,
    })),
  ({ bridges }) =>
    bridges.filter(({ snoops, queries, uplinks }) => snoops && !queries && uplinks.size === 0).map(({ name }) => ({
      severity: 'note', what: `bridge ${quote(name)} snoops multicast without a querier`, why: 'without a querier in the VLAN, neighbour solicitations stop reaching guests after some minutes, and IPv6 fails', cure: `ip link set dev ${name} type bridge mcast_querier 1`,
    })),
];

const UPLINKS: readonly Check[] = [
  ({ bridges, subinterfaces, nics }) => bridges.flatMap(({ name, uplinks }) =>
    subinterfaces.filter(({ parent }) => uplinks.has(parent)).map(({ ifname, parent, vid }): Finding => ({
      severity: nics.some(({ bridge, vids }) => bridge === name && vids.includes(vid)) ? 'error' : 'warning', what: `sub-interface ${quote(ifname)} takes VLAN ${vid} from ${quote(parent)}`,
      why: `bridge ${quote(name)} never receives that VLAN's frames`, cure: `ip link del ${ifname} (its addresses stop working; move them to ${shellWord(name)} first)`,
    }))),
  ({ bridges }) =>
    bridges.flatMap(({ name, uplinks }) => [...uplinks].flatMap(([dev, vids]): Finding[] => (vids ? [] : [{
      severity: 'error', what: `uplink ${quote(dev)} is not a port of bridge ${quote(name)}`, why: "guests' VLANs do not leave this host through it", cure: `ip link set dev ${dev} master ${name}`,
    }]))),
  ({ bridges, nics }) => bridges.flatMap(({ name, uplinks }) => [...uplinks.keys()].flatMap((dev): Finding[] => {
    const guest = nics.find(({ link }) => link === dev || (link === 'vnet*' && /^vnet[0-9]+$/.test(dev)))?.guest;
    return guest === undefined ? [] : [{
      severity: 'error', what: `uplink ${quote(dev)} of bridge ${quote(name)} can be the link of guest ${quote(guest)}`, why: "all guests' VLANs on the bridge go to that guest", cure: `name a link towards the world in 'uplinks' of [bridge.${name}]`,
    }];
  })),
  // Another program removed VLANs that guestwire put there: guestwire adds them at each start.
  ({ bridges, nics }) => bridges.flatMap(({ name, uplinks }) => [...uplinks].flatMap(([dev, carried]): Finding[] => {
    const used = nics.filter(({ bridge, running }) => running && bridge === name).flatMap(({ vids }) => vids);
    const missing = carried === undefined
      ? []
      : [...new Set(used)].filter((vid) => !carried.has(vid)).sort((a, b) => a - b);
    return missing.length === 0 ? [] : [{ severity: 'error', what: `uplink ${quote(dev)} does not carry VLANs ${formatVids(missing)}`, why: 'running guests use them, and reach nothing outside this host', cure: 'guestwire reconcile --all' }];
  })),
  // guestwire keeps VIDs on uplinks that the host config names; without an uplink there, the administrator has to.
  ({ bridges, nics }) => bridges.filter(({ uplinks }) => uplinks.size === 0).flatMap(({ name }): Finding[] => {
    const vids = nics.filter(({ bridge }) => bridge === name).flatMap((nic) => nic.vids);
    return vids.length === 0 ? [] : [{ severity: 'note', what: `bridge ${quote(name)} has no uplink in the host config`, why: `its guests use VLANs ${formatVids([...new Set(vids)])}, but no uplink carries them`, cure: `uplinks = ["..."] in [bridge.${name}] of the host config` }];
  }),
];
