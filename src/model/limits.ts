/**
 * Every bound on what the product takes and holds. docs/reference/limits.md shows this table; a test compares them.
 */
export const LIMITS = {
  NAME_CHARS: {
    value: 128,
    unit: 'characters',
    reason: 'Services, groups and ids: room for the names people have, short enough for keys.',
  },
  NAMESPACE_CHARS: { value: 63, unit: 'characters', reason: 'A namespace is a DNS label.' },
  CONFIG_KEY_CHARS: { value: 256, unit: 'characters', reason: 'A config key is a short path.' },
  ADDRESS_CHARS: { value: 253, unit: 'characters', reason: 'The longest DNS name.' },
  INCARNATION_CHARS: { value: 64, unit: 'characters', reason: 'A UUID with room to spare; also for request_id.' },
  LABEL_CHARS: { value: 128, unit: 'characters', reason: 'Tags, label keys, versions, localities: short by nature.' },
  LABEL_VALUE_BYTES: { value: 1_024, unit: 'bytes', reason: 'A label is not a document.' },
  LABEL_PAIRS: { value: 64, unit: 'pairs', reason: 'Metadata and labels are looked through by every filter.' },
  TAGS: { value: 64, unit: 'tags', reason: 'Tags are looked through by every filter.' },
  ENDPOINTS: { value: 16, unit: 'endpoints', reason: 'Named ports of one process.' },
  NOTE_BYTES: { value: 256, unit: 'bytes', reason: 'A word for the operator.' },
  COMMENT_BYTES: { value: 1_024, unit: 'bytes', reason: 'A commit message.' },
  WATCHER_LABELS: { value: 16, unit: 'pairs', reason: 'Kept in memory for every open watch.' },
  INSTANCE_BYTES: {
    value: 8 * 1_024,
    unit: 'bytes',
    reason: 'One instance record; 100,000 of them must fit in memory.',
  },
  INSTANCES: { value: 250_000, unit: 'instances', reason: 'All instances are held in memory, 1 to 3 kB each.' },
  HEARTBEAT_ITEMS: {
    value: 1_000,
    unit: 'items',
    reason: 'One message must not hold up the others for more than some milliseconds.',
  },
  PEER_QUERIES: {
    value: 1_000,
    unit: 'items',
    reason: 'Between servers: one question for as many instances as one round of judgement takes.',
  },
  PEER_NOTES: { value: 5_000, unit: 'items', reason: 'Between servers: one part of a hand-over, about 500 kB.' },
  SUBSET_SIZE: { value: 10_000, unit: 'instances', reason: 'More than any answer can hold.' },
  SUBSET_KEY_BYTES: { value: 256, unit: 'bytes', reason: 'The key only names the caller.' },
  PUBLISH_CONFIGS: {
    value: 50,
    unit: 'configs',
    reason: 'Each takes two writes in one transaction, and etcd takes 128.',
  },
  PUBLISH_BYTES: {
    value: 512 * 1_024,
    unit: 'bytes',
    reason: 'Content and labels; stored twice in one transaction, and etcd takes 1.5 MiB.',
  },
  CONFIGS: { value: 20_000, unit: 'configs', reason: 'All current configs are held in memory.' },
  CONFIG_MEMORY_BYTES: {
    value: 256 * 1_024 * 1_024,
    unit: 'bytes',
    reason: 'The records of all current configs, held in memory.',
  },
  CONFIG_VERSIONS: { value: 50, unit: 'versions', reason: 'Enough to find a good one again.' },
  CONFIG_VERSION_DAYS: { value: 30, unit: 'days', reason: 'After a month nobody rolls back.' },
  REQUEST_ID_HOURS: { value: 24, unit: 'hours', reason: 'Longer than any client retries.' },
  WATCH_SERVICES: { value: 256, unit: 'services', reason: 'A watch of more is a watch of all.' },
  WATCH_CONFIG_FILTERS: { value: 64, unit: 'filters', reason: 'Looked through for every change.' },
  WATCH_CONFIG_KEYS: { value: 256, unit: 'keys', reason: 'Per filter; looked through for every change.' },
  WATCH_CONFIG_PREFIXES: { value: 64, unit: 'prefixes', reason: 'Per filter; looked through for every change.' },
  WATCHES: {
    value: 20_000,
    unit: 'streams',
    reason: 'Open watches of one server, 10 to 20 kB each, and what their readers have not taken.',
  },
  STREAMS_PER_CONNECTION: { value: 2_000, unit: 'streams', reason: 'One client must not take everything.' },
  PAGE_SIZE: { value: 1_000, unit: 'entries', reason: 'The most a list answers in one page.' },
  PAGE_BYTES: {
    value: 1_024 * 1_024,
    unit: 'bytes',
    reason: 'A page of a list, well under what stock clients receive.',
  },
  TOKEN_CHARS: { value: 1_024, unit: 'characters', reason: 'Tokens of ours are shorter.' },
  ANSWER_BYTES: { value: 3 * 1_024 * 1_024, unit: 'bytes', reason: 'Stock clients refuse answers over 4 MiB.' },
  RECEIVE_BYTES: {
    value: 2 * 1_024 * 1_024,
    unit: 'bytes',
    reason: 'The largest request: a full publish with its frame, and room to spare.',
  },
  WATCH_PART_BYTES: {
    value: 1_024 * 1_024,
    unit: 'bytes',
    reason: 'What a part of a watch aims at; one item or one publish is never split.',
  },
} as const satisfies Record<string, { value: number; unit: string; reason: string }>;

/** The time-to-live of an instance, in milliseconds. */
export const TTL_MS = { min: 2_000, default: 15_000, max: 600_000 } as const;

/** A client should beat this many times per ttl, so that two lost beats do no harm. */
export const BEATS_PER_TTL = 3;

/** A silent instance is removed after this many more of its ttl: long enough for a person to look. */
export const EXPIRY_TTLS = 5;

/** How long removals are remembered at least, so that tokens stay valid: 15 min. */
export const TOMBSTONE_KEPT_MS = 15 * 60_000;

/** How long a reply to a write waits until the write is visible here; then it is sent all the same. */
export const WRITE_VISIBLE_WAIT_MS = 1_000;

/** How long a read waits for `min_revision`, and a watch for the revision of its token. */
export const READ_REVISION_WAIT_MS = 2_000;
