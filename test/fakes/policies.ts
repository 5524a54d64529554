/** Policies for attachments that tests write by hand. */
import type { Policy } from '../../lib/intent/policy.js';

/** What a routed link of guest web1 has when nobody says anything. */
export const POLICY = {
  profile: 'isolated', allows: [], guest: 'web1', groups: [], offers: { dhcp: false, dns: [] },
} satisfies Policy;
