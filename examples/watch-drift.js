// After each event of a guest, prints what its networking lacks compared with its XML: node watch-drift.js [URI].
// Changes nothing. Needs root, because nftables shows its rules only to root.
import process from 'node:process';
import {
  deriveAttachments, describeOperation, exec, GuestwireError, hostFrom, loadConfig, parseDomain, pastOf, planWiring, settingsFrom,
} from 'guestwire';
import { connect } from 'guestwire/libvirt';

const settings = settingsFrom(process.env);
/** The host that the pipeline works on. A plan changes nothing, so it needs no lock. */
const host = hostFrom({ settings, exec, warn: console.warn });

const libvirt = await connect(process.argv[2], { readOnly: true });
for await (const event of libvirt.events()) {
  if (event.kind === 'resync') for (const ref of await libvirt.listDomains({ state: 'active' })) await look(ref);
  else if ('domain' in event) await look(event.domain);
}

/** @param {import('guestwire/libvirt').DomainRef} ref */
async function look(ref) {
  try {
    if (await libvirt.domainState(ref) !== 'running') return;
    const domain = parseDomain(await libvirt.domainXml(ref));
    const attachments = deriveAttachments(domain, loadConfig(settings.config), console.warn);
    const request = { guest: { name: ref.name, uuid: ref.uuid }, attachments, fresh: false, incoming: false };
    const { operations } = await planWiring(host, request, pastOf(host, ref.uuid));
    console.log(ref.name, operations.length === 0 ? 'is exact' : `lacks: ${operations.map((operation) => describeOperation(operation)).join(', ')}`);
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    console.log(ref.name, error.message);
  }
}
