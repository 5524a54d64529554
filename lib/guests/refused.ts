/** Defined guests that would not start now: `install` warns of them after an update. */
import type { Io } from './io.js';
import { isLibvirts, readDomains } from './ask-libvirt.js';
import { askLibvirt } from './inquiry.js';

/**
 * Returns a sentence for each guest of this host's libvirt that its XML or the host config refuses; none when libvirt
 * does not answer. Throws ConfigError.
 */
export async function refusedGuests(io: Io): Promise<string[]> {
  const sentences: string[] = [];
  // Metadata of a NIC that is gone is a warning for a running guest, and refuses the next start.
  const collecting = { ...io, warn: (sentence: string) => { sentences.push(sentence); } };
  try {
    await askLibvirt(io, async (connection) => {
      if (connection.transport !== 'socket') return;
      const found = await readDomains({ connection, io: collecting, from: 'inactive' }, await connection.listDomains());
      for (const one of found) {
        if ('error' in one && !one.error.code.startsWith('ERR_LIBVIRT')) sentences.push(one.error.message);
      }
    });
  } catch (error) {
    if (!isLibvirts(error)) throw error;
  }
  return sentences;
}
