/**
 * The one list of the ways to join a NIC to the host. A new topology is a folder beside these, and a line in
 * Attachment, Placed and KINDS. When guests share something for its sake, ledger.ts has a line, too.
 */
import * as z from 'zod/mini';
import type { Attached, AttachedLink, AttachmentKind, Recorded } from './attached.js';
import { macvtap, madeLink } from './made-link/kind.js';
import type { PlacedMacvtap, PlacedMade } from './made-link/made-link.js';
import { routedLink } from './routed-link/kind.js';
import type { PlacedLink, RoutedLink } from './routed-link/routed-link.js';
import { bridgeUse, vlanBridge } from './vlan-bridge/kind.js';
import type { BridgeUse, PlacedVlanBridge, VlanBridge } from './vlan-bridge/vlan-bridge.js';
import { vlanPort } from './vlan-port/kind.js';
import type { PlacedPort, VlanPort } from './vlan-port/vlan-port.js';

export type { MadeLink, MadeTap, MadeVeth } from './made-link/made-link.js';
export type { RoutedLink, VlanBridge, VlanPort };

/** How a NIC joins the host network, as its intent and the host config ask for. */
export type Attachment = VlanPort | VlanBridge | RoutedLink;

/** An attachment with a link that libvirt has named, or a link beside it: it can be wired. */
export type Placed = PlacedPort | PlacedVlanBridge | BridgeUse | PlacedLink | PlacedMade | PlacedMacvtap;

export type Wired = Placed & Recorded;

/** In the order in which they are asked for a NIC: the first that takes its intent has it. */
const KINDS = {
  'vlan-bridge': vlanBridge,
  'routed-link': routedLink,
  'vlan-port': vlanPort,
  'made-link': madeLink,
  macvtap,
  'bridge-use': bridgeUse,
} satisfies { readonly [K in Placed['kind']]: { readonly schema: z.ZodMiniType } };

/** What any attachment's kind says; each function takes the attachment it was asked for. */
export type AnyKind = AttachmentKind<Attached, AttachedLink>;

/**
 * Returns what the kind of this attachment says. Each entry of KINDS takes its own attachments, which the type cannot
 * tell.
 */
export function kindOf({ kind }: { readonly kind: Placed['kind'] }): AnyKind {
  return KINDS[kind] as unknown as AnyKind;
}

export const ALL_KINDS = Object.values(KINDS) as unknown as readonly AnyKind[];

/** Schema of what the journal holds of one link. */
export const wiredSchema = z.discriminatedUnion(
  'kind', Object.values(KINDS).map(({ schema }) => schema) as unknown as Parameters<typeof z.discriminatedUnion>[1],
);
