/** The public API: exports only. */
export { announce, type Announcement } from './lan/announce.js';
export type {
  Attachment, MadeLink, MadeTap, MadeVeth, RoutedLink, VlanBridge, VlanPort, Wired,
} from './attachments/kinds.js';
export { deriveAttachments } from './attachments/derive.js';
export { type Address, type Family, parseAddress, parsePrefix, type Prefix } from './values/address.js';
export { type ConfigReading, configReading, DEFAULT_CONFIG_PATH, loadConfig, parseConfig } from './config/file.js';
export { defaultConfig, type HostConfig } from './config/host-config.js';
export { type Decision, decide, type Flow, type Ruling, type Verdict } from './filter/explain.js';
export { diff, type Operation } from './state/diff.js';
export { type Domain, type Nic, METADATA_NAMESPACE, type NicJoin, parseDomain } from './domain/domain.js';
export {
  CommandError, type CommandFailure, ConfigError, ConflictError, DomainXmlError, type ErrorCode, GuestwireError,
  HostError, JournalError, NotAllowedError, RollbackError, ToolOutputError, UnsupportedError, UsageError, VerifyError,
} from './errors.js';
export type { End, NicEnd, Parties } from './filter/parties.js';
export { type Exec, exec, type ExecRequest, type ExecResult } from './system/exec.js';
export type { Guest } from './domain/guest.js';
export { type HookCall, type HookResult, runHook } from './hook/contract.js';
export { createJournal, type Entry, type Journal } from './journal/journal.js';
export { createKernel, type Kernel } from './kernel/kernel.js';
export { acquireLock, type Lock } from './system/lock.js';
export type { VethWords } from './intent/veth.js';
export { type NicMetadata, readMetadata } from './domain/metadata.js';
export { formatMetadata } from './domain/metadata-writer.js';
export { desiredState, observedState } from './attachments/state.js';
export type { NetObject, NetState } from './state/netstate.js';
export type { LinkFacts, Observation, RouteFacts, Scope } from './kernel/observation.js';
export { type Batch, type BatchLine, render } from './state/render.js';
export type { Allow, Direction, Peer, Policy, PortRange, Profile, Proto, Trust, TrustWord } from './intent/policy.js';
export { type Plan, planFor } from './reconcile/plan.js';
export { planRelease } from './reconcile/release-plan.js';
export { type Host, hostFrom, type HostParts, type Past, pastOf } from './reconcile/host.js';
export { planWiring, release, releaseRunning, unwire, wire, wireAll } from './reconcile/reconcile.js';
export type { StartMode, Wanted, WireRequest } from './reconcile/request.js';
export { type Settings, settingsFrom } from './config/paths.js';
export { formatMembership, type VlanMember, vlanMembership } from './values/vlan.js';
export { describeOperation } from './state/words.js';
