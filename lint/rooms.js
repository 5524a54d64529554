/**
 * The rooms of lib/: the one table from which dependency-cruiser's rules and the picture in docs/architecture.md are
 * made. A room imports rooms on lower storeys only, never its own storey's other rooms and never a higher storey.
 */

/** From the bottom up; each room with its charter. */
export const STOREYS = [
  { values: "What the network's words are as values: addresses, VLANs, link names, MACs, UUIDs, quoting. Pure." },
  {
    intent: 'What may be asked for one NIC, in whichever file it is written: policy, permissions, trust, veth. No XML, no TOML.',
    state: 'Kernel objects as values: identity, difference, order, and the line of the tool that makes each. Pure.',
    system: 'The doors to the machine: programs, the lock, the log, raw sockets, processes.',
  },
  {
    domain: 'Domain XML in and out. Only this room knows XML.',
    config: 'The host config and the paths of files. Only this room knows TOML.',
    kernel: 'Reads and changes the kernel through `ip`, `bridge`, `nft` and /proc/sys. It judges nothing.',
    libvirt: "A client of libvirt's RPC.",
  },
  {
    attachments: 'How a NIC joins the host, a folder for each way: from intent to attachment, what it needs of the host, which objects it is. Pure.',
  },
  {
    filter: 'What a guest may send and which guests may meet: as nftables rules, and as the verdict that `explain` gives.',
    journal: 'What this host did for which guest, which addresses a guest keeps, and which guests are in quarantine: on disk.',
    lan: 'What guestwire tells the neighbours on a LAN and asks of them.',
    serve: "What configures a guest's own network: dnsmasq, radvd, cloud-init.",
  },
  { reconcile: 'The loop: observe, check, plan, record, run, verify, for a list of guests.' },
  {
    survey: 'The whole host at once, read only: what differs, and what is left over.',
    hook: "libvirt's hook contract. It never reaches libvirt/.",
  },
  { guests: 'Running guests: what libvirt reports about them, and making the host agree, for real or as a dry run.' },
  {
    agent: 'Events to guests: what happened, which guests it concerns, one after another.',
    install: 'Puts guestwire on a host and takes it away.',
    doctor: 'Faults of a host, and what cures them.',
  },
  { cli: 'The commands.' },
];

/** Packages that only one place may import, so that replacing one changes one file. */
export const DOORS = [
  ['execa', '^lib/system/(exec-async|follow)'],
  ['saxes', '^lib/domain/xml'],
  ['fast-xml-parser', '^lib/domain/metadata-writer'],
  ['smol-toml', '^lib/config/toml'],
];
