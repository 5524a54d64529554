/** The one list of the kinds for which `doctor` examines the host. */
import type { KindHealth } from './health-facts.js';
import { routedHealth } from './routed-link/health.js';
import { bridgeHealth } from './vlan-bridge/health.js';
import { portHealth } from './vlan-port/health.js';

export const HEALTH: readonly KindHealth[] = [bridgeHealth, portHealth, routedHealth];
