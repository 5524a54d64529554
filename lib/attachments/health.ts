/** The one list of the kinds for which `doctor` examines the host. */
import type { KindHealth } from './attached.js';
import { bridgeHealth } from './vlan-bridge/health.js';

export const HEALTH: readonly KindHealth[] = [bridgeHealth];
