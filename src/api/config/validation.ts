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
import { Validator } from '../call/validator.js';
import { validateList, validateRead } from '../call/reads.js';
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

/** A validated write. The caller is still to be added. */
export type ValidatedWrite = Omit<WriteRequest, 'principal'>;

/** Validates the fields that every write of configs has. */
function validateWrite(validator: Validator, request: WriteFields): ValidatedWrite {
  return {
    namespace: validator.namespace(request.namespace),
    group: validator.nameOrDefault('group', request.group, GROUP),
    ...validator.claim(request),
    requestId: validator.runId('request_id', request.requestId || undefined) ?? '',
  };
}

/** Validates everything about a publish but the syntax of its texts, which may take time: these come back as `texts`. */
export function validatePublish(request: PublishConfigRequest): {
  write: ValidatedWrite;
  drafts: Draft[];
  texts: FieldText[];
  validateOnly: boolean;
} {
  const validator = new Validator();
  const write = validateWrite(validator, request);
  if (request.configs.length === 0) validator.refuse('configs', 'must have at least one config');
  validator.count('configs', request.configs.length, LIMITS.PUBLISH_CONFIGS.value, 'configs');
  const keys = new Set<string>();
  const texts: FieldText[] = [];
  let bytes = 0;
  const drafts = request.configs.slice(0, LIMITS.PUBLISH_CONFIGS.value).map((draft, i) => {
    const field = `configs[${i}]`;
    if (keys.has(draft.key)) validator.refuse(`${field}.key`, 'is used by another config of the request');
    keys.add(draft.key);
    bytes += draft.content ? Buffer.byteLength(draft.content.value) : 0;
    for (const [name, value] of draft.labels) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    return validateDraft(validator, field, draft, texts);
  });
  if (bytes > LIMITS.PUBLISH_BYTES.value)
    validator.refuse(
      'configs',
      `must have up to ${LIMITS.PUBLISH_BYTES.value} bytes of content and labels together; they have ${bytes}`,
    );
  validator.done();
  return { write, drafts, texts, validateOnly: request.validateOnly };
}

/** Validates one draft, and adds its text to `texts` if the format has a syntax. */
function validateDraft(validator: Validator, field: string, draft: ConfigDraft, texts: FieldText[]): Draft {
  const key = validator.name(`${field}.key`, draft.key, CONFIG_KEY);
  validator.labels(`${field}.labels`, draft.labels);
  const expectedVersion = validator.notNegative(`${field}.expected_version`, draft.expectedVersion);
  const named = validator.enumValue(`${field}.format`, draft.format, ConfigFormat);
  if (!draft.content) validator.refuse(`${field}.text`, 'is required, unless data is set');
  const format = named || inferFormat(key, draft.content?.$case === 'data');
  const given = draft.content ?? { $case: 'text', value: '' };
  const content = validateContent(validator, field, format, given);
  if (content.$case === 'text' && hasSyntax(format))
    texts.push({ field: `${field}.${given.$case}`, format, text: content.value });
  return { key, content, format, labels: draft.labels, expectedVersion };
}

/** The content in the case that its format requires. Text that is not UTF-8 is refused, never repaired. */
function validateContent(
  validator: Validator,
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
    validator.refuse(`${field}.data`, `must be UTF-8 text in format ${formatName(format)}`);
    return content;
  }
  return { $case: 'text', value: text };
}

interface ConfigName {
  readonly namespace: string;
  readonly group: string;
  readonly key: string;
}

function validateName(validator: Validator, request: { namespace: string; group: string; key: string }): ConfigName {
  return {
    namespace: validator.namespace(request.namespace),
    group: validator.nameOrDefault('group', request.group, GROUP),
    key: validator.name('key', request.key, CONFIG_KEY),
  };
}

export function validateGetConfig(request: GetConfigRequest): ConfigName & { version: bigint; read: ReadOptions } {
  const validator = new Validator();
  const name = validateName(validator, request);
  const version = validator.notNegative('version', request.version);
  const read = validateRead(validator, request);
  validator.watcher(request.watcher);
  validator.done();
  return { ...name, version, read };
}

export function validateDelete(request: DeleteConfigRequest): {
  write: ValidatedWrite;
  key: string;
  expectedVersion: bigint | undefined;
} {
  const validator = new Validator();
  const write = validateWrite(validator, request);
  const key = validator.name('key', request.key, CONFIG_KEY);
  const expectedVersion = validator.notNegative('expected_version', request.expectedVersion);
  validator.done();
  return { write, key, expectedVersion };
}

export function validateRollback(request: RollbackConfigRequest): {
  write: ValidatedWrite;
  key: string;
  version: bigint;
  expectedVersion: bigint | undefined;
} {
  const validator = new Validator();
  const write = validateWrite(validator, request);
  const key = validator.name('key', request.key, CONFIG_KEY);
  if (request.version < 1n) validator.refuse('version', `must be 1 or more; it is ${request.version}`);
  const expectedVersion = validator.notNegative('expected_version', request.expectedVersion);
  validator.done();
  return { write, key, version: request.version, expectedVersion };
}

export function validateListConfigs(request: ListConfigsRequest): {
  namespace: string;
  group: string;
  prefix: string;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  const group = request.group && validator.name('group', request.group, GROUP);
  const prefix = validatePrefix(validator, 'prefix', request.prefix);
  const list = validateList(validator, request, ['ListConfigs', namespace, group, prefix]);
  validator.done();
  return { namespace, group, prefix, ...list };
}

export function validateListVersions(
  request: ListConfigVersionsRequest,
): ConfigName & { size: number; before: bigint; selection: string; read: ReadOptions } {
  const validator = new Validator();
  const name = validateName(validator, request);
  const selection = hashSelection(['ListConfigVersions', name]);
  const { size, after } = validator.page(request, selection);
  const [before = '0'] = after;
  if (!VERSION.test(before)) validator.refuse('page_token', 'is not a next_page_token of this list');
  const read = validateRead(validator, request);
  validator.done();
  return { ...name, size, before: BigInt(before), selection, read };
}

export function validateWatchConfig(request: WatchConfigRequest): {
  selection: ReturnType<typeof configSelection>;
  /** `undefined`: all configs of the namespace. */
  filters: readonly GroupFilter[] | undefined;
  resumeToken: string;
  watcher: WatcherIdentity | undefined;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  const given = validator.someOrAll('filters', request.filters, request.all, LIMITS.WATCH_CONFIG_FILTERS.value);
  const filters = given.map((filter, i) => {
    const field = `filters[${i}]`;
    validator.count(`${field}.keys`, filter.keys.length, LIMITS.WATCH_CONFIG_KEYS.value, 'keys');
    validator.count(`${field}.prefixes`, filter.prefixes.length, LIMITS.WATCH_CONFIG_PREFIXES.value, 'prefixes');
    filter.keys
      .slice(0, LIMITS.WATCH_CONFIG_KEYS.value)
      .forEach((key, k) => validator.name(`${field}.keys[${k}]`, key, CONFIG_KEY));
    filter.prefixes.slice(0, LIMITS.WATCH_CONFIG_PREFIXES.value).forEach((prefix, k) => {
      if (prefix === '')
        validator.refuse(
          `${field}.prefixes[${k}]`,
          'must not be empty; to watch the whole group give neither keys nor prefixes',
        );
      validatePrefix(validator, `${field}.prefixes[${k}]`, prefix);
    });
    return {
      group: validator.nameOrDefault(`${field}.group`, filter.group, GROUP),
      keys: filter.keys,
      prefixes: filter.prefixes,
    };
  });
  validator.watcher(request.watcher);
  validator.done();
  const wanted = request.all ? undefined : filters;
  const { resumeToken, watcher } = request;
  return { selection: configSelection(namespace, wanted), filters: wanted, resumeToken, watcher };
}

function validatePrefix(validator: Validator, field: string, prefix: string): string {
  if (prefix !== '' && !CONFIG_PREFIX.pattern.test(prefix)) validator.refuse(field, CONFIG_PREFIX.words);
  return prefix;
}
