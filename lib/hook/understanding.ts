/** What a hook call is about: the guest's XML and the host config, and whether a fault in them concerns the guest. */
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import type { ConfigReading } from '../config/file.js';
import { tablesOfOthers } from '../config/guest-tables.js';
import { defaultConfig, type HostConfig } from '../config/host-config.js';
import { configMayDecide, configMentions } from '../config/mentions.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { mentionsIn } from '../domain/mentions.js';
import { ConfigError, GuestwireError } from '../errors.js';
import type { Log } from '../system/log.js';
import { quote } from '../values/quote.js';

interface Call {
  readonly guest: string;
  readonly operation: string;
  readonly stdin: string | Uint8Array;
}

export interface Understood {
  readonly domain: Domain;
  readonly attachments: readonly Attachment[];
  readonly config: HostConfig;
}

/**
 * A config that cannot be read refuses only the guests that it may concern: the config names them, or their XML asks
 * for something.
 */
export function understand(
  { stdin, operation }: Call, reading: ConfigReading, log?: Pick<Log, 'warn'>,
): Understood {
  const domain = parseDomain(stdin);
  try {
    const config = reading.read();
    if (operation === 'prepare') tellTablesOfOthers(domain, config, log);
    return {
      domain, config,
      attachments: deriveAttachments(domain, config, operation === 'reconnect' ? log?.warn : undefined),
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const names = [domain.name, domain.uuid, ...domain.nics.flatMap(({ mac, source }) => [mac, source.network])];
    const concerned = asksByItself(domain) ||
      configMentions(error.text ?? '', names.filter((name) => name !== undefined)) ||
      configMayDecide(
        error.text ?? '', domain.nics.flatMap(({ source }) => source.bridge ?? []),
        domain.nics.some(({ vlan }) => vlan !== undefined),
      );
    if (concerned) throw error;
    log?.warn(`guest ${quote(domain.name)} starts without the host config: ${error.message}`);
    return { domain, config: defaultConfig(), attachments: [] };
  }
}

/** XML that is refused without the host config asks for something: the config may allow it. */
function asksByItself(domain: Domain): boolean {
  try {
    return deriveAttachments(domain, defaultConfig()).some(({ lenient }) => lenient !== true);
  } catch (error) {
    if (error instanceof GuestwireError) return true;
    throw error;
  }
}

/** A guest that was renamed has lost its table, and starts without what the table says. */
function tellTablesOfOthers(domain: Domain, { guests }: HostConfig, log: Pick<Log, 'warn'> | undefined): void {
  for (const { table, mac } of tablesOfOthers(guests, domain)) {
    log?.warn(`guest ${quote(domain.name)}: ${table} of the host config has its MAC ${quote(mac)} and does not name this guest: rename the table, or use the guest's UUID`);
  }
}

/**
 * Returns whether a failed run may concern this guest: its XML or the host config mentions it. Any other guest starts.
 */
export function concerns({ guest, stdin }: Call, config: ConfigReading): boolean {
  const { asks, hasVlan, uuid, networks, bridges } = mentionsIn(Buffer.from(stdin).toString('utf8'));
  if (asks) return true;
  try {
    const text = config.text();
    return configMentions(text, [guest, uuid, ...networks]) || configMayDecide(text, bridges, hasVlan);
  } catch {
    // A config that cannot be read names no guest.
    return false;
  }
}
