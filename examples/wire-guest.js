// Wires a running guest from an orchestrator, without metadata and without the hook: node wire-guest.js GUEST ADDRESS [URI].
// Gives ADDRESS to the guest's first NIC, which must be of type 'ethernet'. `release(host, uuid)` removes all of it.
import process from 'node:process';
import { acquireLock, deriveAttachments, exec, formatMetadata, hostFrom, loadConfig, parseDomain, settingsFrom, wire } from 'guestwire';
import { connect } from 'guestwire/libvirt';

const [, , name = '', address = '', uri] = process.argv;
const settings = settingsFrom(process.env);

const libvirt = await connect(uri, { readOnly: true });
const ref = await libvirt.lookupDomain({ name });
const xml = await libvirt.domainXml(ref);
await libvirt.close();

// The orchestrator's data replaces the guest's own metadata.
const { nics: [nic] } = parseDomain(xml);
const intent = { mac: nic?.mac ?? '', vlan: undefined, isolated: undefined, routed: { ips: [{ address, prefix: undefined }], routes: [] } };
const domain = parseDomain(xml.replace(/<metadata>[^]*?<\/metadata>/, '').replace('</domain>', `<metadata>${formatMetadata([intent])}</metadata></domain>`));
const attachments = deriveAttachments(domain, loadConfig(settings.config));

// guestwire's hook and agent take the same lock.
const lock = await acquireLock(exec, { path: settings.lock, wait: 30, holder: `my orchestrator, for ${name}` });
try {
  const host = hostFrom({ settings, exec, lock, warn: console.warn, log: console.log });
  await wire(host, { guest: { name, uuid: ref.uuid }, attachments, fresh: false, incoming: false });
} finally {
  lock.release();
}
