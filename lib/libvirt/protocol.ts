/**
 * libvirt's own protocol, as far as this client speaks it: remote_protocol.x, virnetprotocol.x and
 * virkeepaliveprotocol.x of libvirt 9.0.0. Numbers, layouts and limits are what libvirt's support policy calls a long
 * term stable ABI; a test compares every number with the tapset that the installed libvirt ships.
 */
import {
  array, type Codec, int, message, nothing, opaque, optional, string, struct, uhyper, uint, type ValueOf,
} from './xdr.js';

/** REMOTE_PROGRAM, KEEPALIVE_PROGRAM; both have version 1. */
export const REMOTE_PROGRAM = 0x2000_8086;
export const KEEPALIVE_PROGRAM = 0x6b65_6570;
export const VERSION = 1;

/** KEEPALIVE_PROC_PING, KEEPALIVE_PROC_PONG. */
export const PING = 1;
export const PONG = 2;

/** VIR_NET_MESSAGE_LEN_MAX and VIR_NET_MESSAGE_HEADER_MAX: every message begins with its length and a header. */
export const LENGTH_SIZE = 4;
export const HEADER_SIZE = 24;
/** VIR_NET_MESSAGE_MAX; the length itself is not counted. */
export const MESSAGE_MAX = 33_554_432;
/** REMOTE_STRING_MAX and VIR_NET_MESSAGE_STRING_MAX. */
export const STRING_MAX = 4_194_304;
/** REMOTE_DOMAIN_LIST_MAX and REMOTE_NETWORK_LIST_MAX. */
const LIST_MAX = 16_384;
/** REMOTE_AUTH_TYPE_LIST_MAX. */
const AUTH_TYPES_MAX = 20;

/** virNetMessageType, as far as it comes without file descriptors and streams. */
export const CALL = 0;
export const REPLY = 1;
export const EVENT = 2;

/** virNetMessageStatus. */
export const OK = 0;
export const ERROR = 1;

/** virNetMessageHeader. */
export const header = struct({ program: uint, version: uint, procedure: int, type: int, serial: uint, status: int });
export type Header = ValueOf<typeof header>;

/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE and VIR_DRV_FEATURE_REMOTE_EVENT_CALLBACK, of libvirt_internal.h. */
export const FEATURE_KEEPALIVE = 10;
export const FEATURE_EVENT_CALLBACK = 14;

/** remote_auth_type. */
export const AUTH_NONE = 0;
export const AUTH_POLKIT = 2;

const text = string(STRING_MAX);
const uuid = opaque(16);
const domain = struct({ name: text, uuid, id: int });
const network = struct({ name: text, uuid });
/** remote_nonnull_domain, remote_nonnull_network. */
export type WireDomain = ValueOf<typeof domain>;
export type WireNetwork = ValueOf<typeof network>;

const remark = optional(message(STRING_MAX));
/** virNetMessageError; `dom` and `net` are unused, and there for the layout. */
export const failure = struct({
  code: int, domain: int, message: remark, level: int,
  dom: optional(domain), str1: remark, str2: remark, str3: remark, int1: int, int2: int, net: optional(network),
});

interface Procedure<A, R> {
  readonly number: number;
  readonly args: Codec<A>;
  readonly result: Codec<R>;
}

function procedure<A, R>(number: number, args: Codec<A>, result: Codec<R>): Procedure<A, R> {
  return { number, args, result };
}

const domainAndFlags = struct({ domain, flags: uint });
const deviceArgs = struct({ domain, xml: text, flags: uint });
const listArgs = struct({ needResults: int, flags: uint });
const callbackId = struct({ callbackId: int });

/** The procedures that are called, by their names in remote_protocol.x, in lower case and without REMOTE_PROC_. */
export const PROCEDURES = {
  connect_open: procedure(1, struct({ name: optional(text), flags: uint }), nothing),
  connect_close: procedure(2, nothing, nothing),
  domain_get_xml_desc: procedure(14, domainAndFlags, struct({ xml: text })),
  domain_lookup_by_name: procedure(23, struct({ name: text }), struct({ domain })),
  domain_lookup_by_uuid: procedure(24, struct({ uuid }), struct({ domain })),
  network_get_xml_desc: procedure(43, struct({ network, flags: uint }), struct({ xml: text })),
  network_lookup_by_name: procedure(46, struct({ name: text }), struct({ network })),
  network_lookup_by_uuid: procedure(47, struct({ uuid }), struct({ network })),
  connect_get_hostname: procedure(59, nothing, struct({ hostname: text })),
  connect_supports_feature: procedure(60, struct({ feature: int }), struct({ supported: int })),
  auth_list: procedure(66, nothing, struct({ types: array(int, AUTH_TYPES_MAX) })),
  auth_polkit: procedure(70, nothing, struct({ complete: int })),
  connect_get_uri: procedure(110, nothing, struct({ uri: text })),
  connect_get_lib_version: procedure(157, nothing, struct({ version: uhyper })),
  domain_attach_device_flags: procedure(160, deviceArgs, nothing),
  domain_detach_device_flags: procedure(161, deviceArgs, nothing),
  domain_update_device_flags: procedure(174, deviceArgs, nothing),
  domain_get_state: procedure(212, domainAndFlags, struct({ state: int, reason: int })),
  domain_set_metadata: procedure(
    264, struct({ domain, type: int, metadata: optional(text), key: optional(text), uri: optional(text), flags: uint }),
    nothing,
  ),
  domain_get_metadata: procedure(
    265, struct({ domain, type: int, uri: optional(text), flags: uint }), struct({ metadata: text }),
  ),
  connect_list_all_domains: procedure(273, listArgs, struct({ domains: array(domain, LIST_MAX), count: uint })),
  connect_list_all_networks: procedure(283, listArgs, struct({ networks: array(network, LIST_MAX), count: uint })),
  connect_network_event_register_any: procedure(313, struct({ event: int, network: optional(network) }), callbackId),
  connect_network_event_deregister_any: procedure(314, callbackId, nothing),
  connect_domain_event_callback_register_any: procedure(
    316, struct({ event: int, domain: optional(domain) }), callbackId,
  ),
  connect_domain_event_callback_deregister_any: procedure(317, callbackId, nothing),
} as const;

export type ProcedureName = keyof typeof PROCEDURES;
export type ArgsOf<N extends ProcedureName> = ValueOf<(typeof PROCEDURES)[N]['args']>;
export type ResultOf<N extends ProcedureName> = ValueOf<(typeof PROCEDURES)[N]['result']>;

const lifecycle = struct({ domain, event: int, detail: int });
const deviceMessage = struct({ callbackId: int, domain, alias: text });

/** The events that are understood, likewise by name. */
export const EVENTS = {
  network_event_lifecycle: { number: 315, body: struct({ callbackId: int, network, event: int, detail: int }) },
  domain_event_callback_lifecycle: { number: 318, body: struct({ callbackId: int, message: lifecycle }) },
  domain_event_callback_device_removed: {
    number: 333, body: struct({ callbackId: int, message: struct({ domain, alias: text }) }),
  },
  domain_event_callback_device_added: { number: 354, body: deviceMessage },
  domain_event_callback_device_removal_failed: { number: 367, body: deviceMessage },
  domain_event_callback_metadata_change: {
    number: 379, body: struct({ callbackId: int, domain, type: int, uri: optional(text) }),
  },
} as const;

export type EventName = keyof typeof EVENTS;
