/**
 * A guest with one NIC whose XML and host config hold the words of trust and policy, and what is said against wrong
 * ones.
 */
import { deriveAttachments } from '../../lib/attachments/derive.js';
import type { Attachment } from '../../lib/attachments/kinds.js';
import { parseConfig } from '../../lib/config/file.js';
import { METADATA_NAMESPACE, parseDomain } from '../../lib/domain/domain.js';
import { GuestwireError } from '../../lib/errors.js';

export const PATH = '/etc/guestwire/config.toml';
export const MAC = '52:54:00:aa:bb:01';
export const WHERE = `guest 'web1' NIC 0 (${MAC})`;
export const TABLE = `[guest.web1."${MAC}"]`;
export const ROUTED = '<gw:routed><gw:ip address="2001:db8::a"/></gw:routed>';
export const VLAN = '<gw:vlan><gw:tag id="10"/></gw:vlan>';

type Kind = 'ethernet' | 'bridge' | 'network';

function xmlOf(words: string, kind: Kind, filterref = ''): string {
  const source = { ethernet: '', bridge: '<source bridge="br0"/>', network: '<source network="lan" portgroup="dmz"/>' }[kind];
  const metadata = words === '' ? '' : `<gw:guestwire xmlns:gw="${METADATA_NAMESPACE}"><gw:interface mac="${MAC}">${words}</gw:interface></gw:guestwire>`;
  return `<domain><name>web1</name><metadata>${metadata}</metadata><devices><interface type="${kind}"><mac address="${MAC}"/>${source}${filterref}</interface></devices></domain>`;
}

export function derive(
  words: string, { kind, config = '', filterref }: { kind: Kind; config?: string; filterref?: string },
): Attachment | undefined {
  return deriveAttachments(parseDomain(xmlOf(words, kind, filterref)), parseConfig(config, PATH))[0];
}

export const link = (words: string, config?: string): Attachment | undefined =>
  derive(ROUTED + words, { kind: 'ethernet', ...(config !== undefined && { config }) });
export const port = (words: string, config?: string, filterref?: string): Attachment | undefined =>
  derive(VLAN + words, {
    kind: 'bridge', ...(config !== undefined && { config }), ...(filterref !== undefined && { filterref }),
  });

export function refusal(act: () => unknown): string {
  try {
    act();
    return 'none';
  } catch (error) {
    if (error instanceof GuestwireError) return `${error.code} ${error.message}`;
    throw error;
  }
}
