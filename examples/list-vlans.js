// Lists the VLANs that each guest's XML and the host config ask for: node list-vlans.js [URI]
import process from 'node:process';
import { DEFAULT_CONFIG_PATH, deriveAttachments, formatMembership, loadConfig, parseDomain } from 'guestwire';
import { connect } from 'guestwire/libvirt';

const libvirt = await connect(process.argv[2], { readOnly: true });
const config = loadConfig(process.env['GUESTWIRE_CONFIG'] ?? DEFAULT_CONFIG_PATH);
for (const ref of await libvirt.listDomains()) {
  const domain = parseDomain(await libvirt.domainXml(ref));
  for (const attachment of deriveAttachments(domain, config, console.warn)) {
    if (attachment.kind === 'vlan-port') console.log(domain.name, attachment.mac, formatMembership(attachment.vlans));
  }
}
await libvirt.close();
