/** `guestwire cloud-init`: what a guest is to be told of its network when nothing serves it. */
import { deriveAttachments } from '../attachments/derive.js';
import { parseDomain } from '../domain/domain.js';
import { netplanFile, networkConfig } from '../serve/cloud-init.js';
import { command, readDomainXml } from './command.js';

export const cloudInit = command({
  name: 'cloud-init',
  summary: 'print the network-config of a guest for cloud-init or netplan',
  help: `Usage: guestwire cloud-init (-f FILE | GUEST) [--netplan]

Prints the network-config (version 2) of a guest: addresses, on-link gateways and default routes of its routed links,
and DHCP for ports of bridges with untagged frames. DNS servers and search domains are those of [serve] in the host config.
Give it to the guest as the 'network-config' of a NoCloud seed. Needs no root and no kernel.

  -f, --file FILE  read the domain XML from FILE; '-' is standard input
  GUEST            name, UUID or id: ask libvirt for it
  --netplan        print it below 'network:', as a file in /etc/netplan has it`,
  options: { file: { type: 'string', short: 'f' }, netplan: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals }, io) => {
    const domain = parseDomain(await readDomainXml(io, values.file, positionals));
    const config = io.config.read();
    const document = networkConfig(domain, deriveAttachments(domain, config), config);
    io.print((values.netplan === true ? netplanFile(document) : document).trimEnd());
    return 0;
  },
});
