import type { WatcherIdentity } from '../../gen/rollcall/v1/watch.js';
import { decodeUtf8 } from '../../base/utf8.js';
import { formatName, inferFormat } from '../../model/config-format.js';
import { hasSyntax } from '../../domain/config/inspect.js';
import type { Draft, WriteRequest } from '../../domain/config/publishing.js';
import { configSelection, type GroupFilter } from '../../domain/config/watching.js';
import { ConfigFormat } from '../../gen/rollcall/v1/config.js';
import type {
  ConfigDraft,
  DeleteConfigRequest,
  GetConfigRequest,
  ListConfigsRequest,
  ListConfigVersionsRequest,
  PublishConfigRequest,
  RollbackConfigRequest,
  WatchConfigRequest,
} from '../../gen/rollcall/v1/config_service.js';
import { LIMITS } from '../../model/limits.js';
import { CONFIG_KEY, CONFIG_PREFIX, GROUP } from '../../model/names.js';
import { hashSelection } from '../../model/tokens.js';
import { Checker } from '../call/checker.js';
import { checkRead } from '../call/reads.js';
import type { ReadOptions } from '../../catalog/freshness.js';
import type { FieldText } from './syntax.js';

const VERSION = /^[0-9]{1,19}$/;

interface WriteFields {
  namespace: string;
  group: string;
  author: string;
  comment: string;
  requestId: string;
}

/** A checked write. The caller is still to be added. */
export type CheckedWrite = Omit<WriteRequest, 'principal'>;

/** Checks the fields that every write of configs has. */
function checkWrite(check: Checker, request: WriteFields): CheckedWrite {
  return {
    namespace: check.namespace(request.namespace),
    group: check.nameOrDefault('group', request.group, GROUP),
    ...check.claim(request),
    requestId: check.runId('request_id', request.requestId || undefined) ?? '',
  };
}

/** Checks everything about a publish but the syntax of its texts, which may take time: these come back as `texts`. */
export function checkPublish(request: PublishConfigRequest): {
  write: CheckedWrite;
  drafts: Draft[];
  texts: FieldText[];
  validateOnly: boolean;
} {
  const check = new Checker();
  const write = checkWrite(check, request);
  if (request.configs.length === 0) check.refuse('configs', 'must have at least one config');
  check.count('configs', request.configs.length, LIMITS.PUBLISH_CONFIGS.value, 'configs');
  const keys = new Set<string>();
  const texts: FieldText[] = [];
  let bytes = 0;
  const drafts = request.configs.slice(0, LIMITS.PUBLISH_CONFIGS.value).map((draft, i) => {
    const field = `configs[${i}]`;
    if (keys.has(draft.key)) check.refuse(`${field}.key`, 'is used by another config of the request');
    keys.add(draft.key);
    bytes += draft.content ? Buffer.byteLength(draft.content.value) : 0;
    for (const [name, value] of draft.labels) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    return checkDraft(check, field, draft, texts);
  });
  if (bytes > LIMITS.PUBLISH_BYTES.value)
    check.refuse(
      'configs',
      `must have up to ${LIMITS.PUBLISH_BYTES.value} bytes of content and labels together; they have ${bytes}`,
    );
  check.done();
  return { write, drafts, texts, validateOnly: request.validateOnly };
}

/** Checks one draft, and adds its text to `texts` if the format has a syntax. */
function checkDraft(check: Checker, field: string, draft: ConfigDraft, texts: FieldText[]): Draft {
  const key = check.name(`${field}.key`, draft.key, CONFIG_KEY);
  check.labels(`${field}.labels`, draft.labels);
  const expectedVersion = check.notNegative(`${field}.expected_version`, draft.expectedVersion);
  const named = check.enumValue(`${field}.format`, draft.format, ConfigFormat);
  if (!draft.content) check.refuse(`${field}.text`, 'is required, unless data is set');
  const format = named || inferFormat(key, draft.content?.$case === 'data');
  const given = draft.content ?? { $case: 'text', value: '' };
  const content = checkContent(check, field, format, given);
  if (content.$case === 'text' && hasSyntax(format))
    texts.push({ field: `${field}.${given.$case}`, format, text: content.value });
  return { key, content, format, labels: draft.labels, expectedVersion };
}

/** The content in the case that its format requires. Text that is not UTF-8 is refused, never repaired. */
function checkContent(
  check: Checker,
  field: string,
  format: ConfigFormat,
  content: Draft['content'],
): Draft['content'] {
  if (format === ConfigFormat.CONFIG_FORMAT_BINARY) {
    return { $case: 'data', value: content.$case === 'data' ? content.value : Buffer.from(content.value) };
  }
  let text: string;
  try {
    text = content.$case === 'text' ? content.value : decodeUtf8(content.value);
  } catch {
    check.refuse(`${field}.data`, `must be UTF-8 text in format ${formatName(format)}`);
    return content;
  }
  return { $case: 'text', value: text };
}

interface ConfigName {
  readonly namespace: string;
  readonly group: string;
  readonly key: string;
}

function checkName(check: Checker, request: { namespace: string; group: string; key: string }): ConfigName {
  return {
    namespace: check.namespace(request.namespace),
    group: check.nameOrDefault('group', request.group, GROUP),
    key: check.name('key', request.key, CONFIG_KEY),
  };
}

export function checkGetConfig(request: GetConfigRequest): ConfigName & { version: bigint; read: ReadOptions } {
  const check = new Checker();
  const name = checkName(check, request);
  const version = check.notNegative('version', request.version);
  const read = checkRead(check, request);
  check.watcher(request.watcher);
  check.done();
  return { ...name, version, read };
}

export function checkDelete(request: DeleteConfigRequest): {
  write: CheckedWrite;
  key: string;
  expectedVersion: bigint | undefined;
} {
  const check = new Checker();
  const write = checkWrite(check, request);
  const key = check.name('key', request.key, CONFIG_KEY);
  const expectedVersion = check.notNegative('expected_version', request.expectedVersion);
  check.done();
  return { write, key, expectedVersion };
}

export function checkRollback(request: RollbackConfigRequest): {
  write: CheckedWrite;
  key: string;
  version: bigint;
  expectedVersion: bigint | undefined;
} {
  const check = new Checker();
  const write = checkWrite(check, request);
  const key = check.name('key', request.key, CONFIG_KEY);
  if (request.version < 1n) check.refuse('version', `must be 1 or more; it is ${request.version}`);
  const expectedVersion = check.notNegative('expected_version', request.expectedVersion);
  check.done();
  return { write, key, version: request.version, expectedVersion };
}

export function checkListConfigs(request: ListConfigsRequest): {
  namespace: string;
  group: string;
  prefix: string;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const group = request.group && check.name('group', request.group, GROUP);
  const prefix = checkPrefix(check, 'prefix', request.prefix);
  const selection = hashSelection(['ListConfigs', namespace, group, prefix]);
  const { size, after } = check.page(request, selection);
  const read = checkRead(check, request);
  check.done();
  return { namespace, group, prefix, size, after: after[0] ?? '', selection, read };
}

export function checkListVersions(
  request: ListConfigVersionsRequest,
): ConfigName & { size: number; before: bigint; selection: string; read: ReadOptions } {
  const check = new Checker();
  const name = checkName(check, request);
  const selection = hashSelection(['ListConfigVersions', name]);
  const { size, after } = check.page(request, selection);
  const [before = '0'] = after;
  if (!VERSION.test(before)) check.refuse('page_token', 'is not a next_page_token of this list');
  const read = checkRead(check, request);
  check.done();
  return { ...name, size, before: BigInt(before), selection, read };
}

export function checkWatchConfig(request: WatchConfigRequest): {
  selection: ReturnType<typeof configSelection>;
  /** `undefined`: all configs of the namespace. */
  filters: readonly GroupFilter[] | undefined;
  resumeToken: string;
  watcher: WatcherIdentity | undefined;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const given = check.someOrAll('filters', request.filters, request.all, LIMITS.WATCH_CONFIG_FILTERS.value);
  const filters = given.map((filter, i) => {
    const field = `filters[${i}]`;
    check.count(`${field}.keys`, filter.keys.length, LIMITS.WATCH_CONFIG_KEYS.value, 'keys');
    check.count(`${field}.prefixes`, filter.prefixes.length, LIMITS.WATCH_CONFIG_PREFIXES.value, 'prefixes');
    filter.keys
      .slice(0, LIMITS.WATCH_CONFIG_KEYS.value)
      .forEach((key, k) => check.name(`${field}.keys[${k}]`, key, CONFIG_KEY));
    filter.prefixes.slice(0, LIMITS.WATCH_CONFIG_PREFIXES.value).forEach((prefix, k) => {
      if (prefix === '')
        check.refuse(
          `${field}.prefixes[${k}]`,
          'must not be empty; to watch the whole group give neither keys nor prefixes',
        );
      checkPrefix(check, `${field}.prefixes[${k}]`, prefix);
    });
    return {
      group: check.nameOrDefault(`${field}.group`, filter.group, GROUP),
      keys: filter.keys,
      prefixes: filter.prefixes,
    };
  });
  check.watcher(request.watcher);
  check.done();
  const wanted = request.all ? undefined : filters;
  const { resumeToken, watcher } = request;
  return { selection: configSelection(namespace, wanted), filters: wanted, resumeToken, watcher };
}

function checkPrefix(check: Checker, field: string, prefix: string): string {
  if (prefix !== '' && !CONFIG_PREFIX.pattern.test(prefix)) check.refuse(field, CONFIG_PREFIX.words);
  return prefix;
}
