/** `guestwire derive`: what a domain XML means, without root and without looking at the kernel. */
import { attachmentWords } from '../attachments/attachment.js';
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { quote } from '../values/quote.js';
import { command, JSON_VERSION, readDomainXml } from './command.js';

export const derive = command({
  name: 'derive',
  summary: 'show what the XML of a guest asks for',
  help: `Usage: guestwire derive (-f FILE | GUEST) [--json]

Shows how each NIC of a guest would join the network, from its domain XML and the host config alone: it needs no root
and no kernel. guestwire leaves alone a NIC that neither XML nor host config mentions.

  -f, --file FILE  read the domain XML from FILE; '-' is standard input
  GUEST            name, UUID or id: ask libvirt for it
  --json           print {"version", "guest": {"name", "uuid"}, "attachments": [...]}`,
  options: { file: { type: 'string', short: 'f' }, json: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals }, io) => {
    const domain = parseDomain(await readDomainXml(io, values.file, positionals));
    const attachments = deriveAttachments(domain, io.config.read());
    io.print(values.json === true ? toJson(domain, attachments) : toText(domain, attachments));
    return 0;
  },
});

function toJson({ name, uuid }: Domain, attachments: readonly Attachment[]): string {
  return JSON.stringify(
    { version: JSON_VERSION, guest: { name, uuid: uuid ?? null }, attachments }, undefinedAsNull, 2,
  );
}

/** A key without a known value is still there: a reader can tell it from a key of another version. */
function undefinedAsNull(_key: string, value: unknown): unknown {
  return value === undefined ? null : value;
}

function toText({ name, nics }: Domain, attachments: readonly Attachment[]): string {
  const lines = nics.map(({ index, mac, target }) => {
    const attachment = attachments.find(({ nic }) => nic === index);
    return `  NIC ${index}  ${mac ?? 'no MAC yet'}  ${target.dev ?? '-'}  ${attachment === undefined ? 'left alone' : attachmentWords(attachment)}`;
  });
  return [`guest ${quote(name)}`, ...lines].join('\n');
}
