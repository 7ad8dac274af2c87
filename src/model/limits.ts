/**
 * Every limit on requests and on memory. docs/reference/limits.md shows this table; a test compares them.
 */
export const LIMITS = {
  NAME_CHARS: {
    value: 128,
    unit: 'characters',
    reason: 'Services, groups and ids: long enough for common names, short enough for keys.',
  },
  NAMESPACE_CHARS: { value: 63, unit: 'characters', reason: 'A namespace is a DNS label.' },
  CONFIG_KEY_CHARS: { value: 256, unit: 'characters', reason: 'A config key is a short path.' },
  CONFIG_KEY_BYTES: {
    value: 512,
    unit: 'bytes',
    reason: 'The key of a version, with namespace and group, must fit into the 1,024 bytes of the embedded store.',
  },
  ADDRESS_CHARS: { value: 253, unit: 'characters', reason: 'The longest DNS name.' },
  INCARNATION_CHARS: {
    value: 64,
    unit: 'characters',
    reason: 'A UUID fits with room to spare. Also the limit of request_id.',
  },
  LABEL_CHARS: {
    value: 128,
    unit: 'characters',
    reason: 'Tags, label keys, versions and localities are short by nature.',
  },
  LABEL_VALUE_BYTES: { value: 1_024, unit: 'bytes', reason: 'A label is not a document.' },
  LABEL_PAIRS: { value: 64, unit: 'pairs', reason: 'Every filter scans metadata and labels.' },
  TAGS: { value: 64, unit: 'tags', reason: 'Every filter scans the tags.' },
  ENDPOINTS: { value: 16, unit: 'endpoints', reason: 'The named ports of one process.' },
  NODE_CHARS: { value: 128, unit: 'characters', reason: 'A node is a host or a pod, with a short name.' },
  NOTE_BYTES: { value: 256, unit: 'bytes', reason: 'A short note for the operator.' },
  COMMENT_BYTES: { value: 1_024, unit: 'bytes', reason: 'A comment is as long as a commit message.' },
  WATCHER_LABELS: { value: 16, unit: 'pairs', reason: 'Memory of every open watch.' },
  INSTANCE_BYTES: {
    value: 8 * 1_024,
    unit: 'bytes',
    reason: 'One instance record. 100,000 of them must fit in memory.',
  },
  INSTANCES: { value: 250_000, unit: 'instances', reason: 'All instances are in memory, 1 to 3 kB each.' },
  OVERRIDES: {
    value: 10_000,
    unit: 'overrides',
    reason: 'Decisions of people, in force at once. Each is a record in memory.',
  },
  HEARTBEAT_ITEMS: {
    value: 1_000,
    unit: 'items',
    reason: 'One message must not delay others by more than a few milliseconds.',
  },
  PEER_QUERIES: {
    value: 1_000,
    unit: 'items',
    reason: 'Between servers: one query for all instances of one round.',
  },
  PEER_NOTES: { value: 5_000, unit: 'items', reason: 'Between servers: one part of a hand-over, about 500 kB.' },
  PEER_PROBES: { value: 100, unit: 'items', reason: 'Between servers: one question about checks that fail.' },
  CHECKS: { value: 4, unit: 'checks', reason: 'The checks of one instance: each is probed at its interval for ever.' },
  CHECK_PATH_CHARS: { value: 512, unit: 'characters', reason: 'A path for a probe is short.' },
  CHECK_HEADERS: { value: 4, unit: 'headers', reason: 'A probe needs few.' },
  CHECK_STATUSES: { value: 4, unit: 'ranges', reason: 'The ranges of statuses of one probe.' },
  SUBSET_SIZE: { value: 10_000, unit: 'instances', reason: 'More instances than any answer can hold.' },
  SUBSET_KEY_BYTES: { value: 256, unit: 'bytes', reason: 'The key only identifies the caller.' },
  PUBLISH_CONFIGS: {
    value: 36,
    unit: 'configs',
    reason: 'Each config is three writes of one transaction of up to 110: two records, and a version that is deleted.',
  },
  PUBLISH_BYTES: {
    value: 512 * 1_024,
    unit: 'bytes',
    reason: 'Content and labels. One transaction stores them twice, and etcd allows 1.5 MiB.',
  },
  PARSED_REQUESTS: {
    value: 16,
    unit: 'requests',
    reason: 'Publishes over 4 KiB are parsed one after the other, and each waits for those before it.',
  },
  PARSED_BYTES: { value: 8 * 1_024 * 1_024, unit: 'bytes', reason: 'All publishes that wait to be parsed.' },
  CONFIGS: { value: 20_000, unit: 'configs', reason: 'All current configs are in memory.' },
  CONFIG_MEMORY_BYTES: {
    value: 256 * 1_024 * 1_024,
    unit: 'bytes',
    reason: 'The records of all current configs are in memory.',
  },
  CONFIG_VERSIONS: { value: 50, unit: 'versions', reason: 'The newest ones: enough to find the last good version.' },
  CONFIG_VERSIONS_TOTAL: {
    value: 100,
    unit: 'versions',
    reason: 'With the newest of each day and of each author. All of them are listed with the current version.',
  },
  CONFIG_VERSION_DAYS: {
    value: 30,
    unit: 'days',
    reason: 'After a version was replaced. Rollbacks after a month are not expected.',
  },
  REQUEST_ID_HOURS: { value: 24, unit: 'hours', reason: 'Longer than the retries of any client.' },
  WATCH_SERVICES: { value: 256, unit: 'services', reason: 'A larger selection is better served by a watch of all.' },
  WATCH_CONFIG_FILTERS: { value: 64, unit: 'filters', reason: 'Every change is matched against all of them.' },
  WATCH_CONFIG_KEYS: { value: 256, unit: 'keys', reason: 'Per filter. Every change is matched against all of them.' },
  WATCH_CONFIG_PREFIXES: {
    value: 64,
    unit: 'prefixes',
    reason: 'Per filter. Every change is matched against all of them.',
  },
  FILTERS: {
    value: 8,
    unit: 'filters',
    reason: 'Alternatives and exclusions of one filter: each is matched against every instance.',
  },
  LISTED_INSTANCES: {
    value: 5_000,
    unit: 'instances',
    reason: 'Those that one page of ListInstances looks at: some milliseconds.',
  },
  DEREGISTER_ITEMS: { value: 1_000, unit: 'items', reason: 'As many as in a heartbeat. Each is a write.' },
  WATCHES: {
    value: 20_000,
    unit: 'streams',
    reason: 'Open watches of one server, 10 to 20 kB each plus their unsent bytes.',
  },
  STREAMS_PER_CONNECTION: {
    value: 1_900,
    unit: 'streams',
    reason: 'A connection carries 2,000 calls at once, and unary calls must never wait for a stream to end.',
  },
  PAGE_SIZE: { value: 1_000, unit: 'entries', reason: 'The most entries in one page of a list.' },
  PAGE_BYTES: {
    value: 1_024 * 1_024,
    unit: 'bytes',
    reason: 'One page of a list, far below the default limit of clients.',
  },
  TOKEN_CHARS: { value: 1_024, unit: 'characters', reason: 'Tokens of Rollcall are shorter.' },
  ANSWER_BYTES: { value: 3 * 1_024 * 1_024, unit: 'bytes', reason: 'By default, clients refuse answers over 4 MiB.' },
  RECEIVE_BYTES: {
    value: 2 * 1_024 * 1_024,
    unit: 'bytes',
    reason: 'The largest request: a full publish with its frame, and room to spare.',
  },
  GRPC_CONNECTIONS: {
    value: 20_000,
    unit: 'connections',
    reason: 'Open connections of the gRPC port, about 40 kB each. The other servers of the cluster have places beside.',
  },
  HTTP_CONNECTIONS: {
    value: 10_000,
    unit: 'connections',
    reason: 'Open connections of the HTTP port. Each watch over HTTP has one; further clients are turned away.',
  },
  WATCH_PART_BYTES: {
    value: 1_024 * 1_024,
    unit: 'bytes',
    reason: 'The target size of a part of a watch. One item or one publish is never split.',
  },
} as const satisfies Record<string, { value: number; unit: string; reason: string }>;

/** The time-to-live of an instance, in milliseconds. */
export const TTL_MS = { min: 2_000, default: 15_000, max: 600_000 } as const;

/** A client should beat this many times per ttl, so that two lost beats do no harm. */
export const BEATS_PER_TTL = 3;

/** The least time between two changes of the note of an instance alone, so that a note cannot make each beat a write. */
export const NOTE_INTERVAL_MS = 30_000;

/** A silent instance is removed after this number of further TTLs: long enough for a person to investigate. */
export const EXPIRY_TTLS = 5;

/** How long an override of an operator may last, in milliseconds: 1 s to 30 days. A drain ends after a day by default. */
export const OVERRIDE_MS = { min: 1_000, drain: 24 * 3_600_000, max: 30 * 24 * 3_600_000 } as const;

/** The times of a check, in milliseconds. */
export const CHECK_MS = {
  interval: { min: 2_000, default: 10_000, max: 600_000 },
  timeout: { min: 100, default: 3_000, max: 30_000 },
  deregisterAfter: { min: 60_000, default: 60_000, max: 7 * 24 * 3_600_000 },
  minValidity: { min: 3_600_000, default: 3_600_000, max: 90 * 24 * 3_600_000 },
} as const;

/** The share of a service, in percent, that an override must leave up unless it is forced. */
export const LEFT_UP_PERCENT = 30;

/** The least age at which a tombstone is collected, so that tokens stay valid: 15 min. */
export const TOMBSTONE_KEPT_MS = 15 * 60_000;

/** How long a reply to a write waits until the write is visible here. Then the reply is sent in any case. */
export const WRITE_VISIBLE_WAIT_MS = 1_000;

/** How long a read waits for `min_revision`, and a watch for the revision of its token. */
export const READ_REVISION_WAIT_MS = 2_000;
