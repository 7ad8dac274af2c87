import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { create, type DescMethod, ScalarType, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { ConfigFormat } from '../../src/gen/rollcall/v1/config.js';
import { Health, HealthReason, ReportedState } from '../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../src/gen/rollcall/v1/override.js';
import { encodePageToken, hashSelection } from '../../src/model/tokens.js';
import {
  address,
  all,
  configKey,
  configPrefix,
  each,
  enumeration,
  failed,
  instanceId,
  INT64,
  labels,
  line,
  list,
  minRevision,
  namespace,
  notNegative,
  pageSize,
  pageToken,
  prose,
  range,
  refused,
  required,
  resumeToken,
  rows,
  type Rule,
  runId,
  scope,
  times,
} from '../support/bad-values.js';
import {
  deregister,
  discover,
  getConfig,
  getInstance,
  getStatus,
  heartbeat,
  listConfigs,
  listNamespaces,
  listServices,
  publishConfig,
  register,
  text,
} from '../support/client.js';
import { reflectionClient } from '../support/reflection.js';
import { eventually, failure, peakMemoryOf, type ServerProcess, startServer } from '../support/server.js';
import { framed, METHODS, openSession, pathOf, type Place, placesIn, send, sendRaw } from '../support/wire.js';

/** The fields of a message by their names in TypeScript, as protobuf-es takes them. */
type Fields = Record<string, unknown>;

/** A request of a method that breaks no rule, and the rules of its fields by their paths. */
interface Requests {
  readonly good: Fields;
  readonly rules: Record<string, Rule>;
}

/** The rules of a message that stands in a field. */
const under = (field: string, rules: Record<string, Rule>): Record<string, Rule> =>
  Object.fromEntries(Object.entries(rules).map(([path, rule]) => [`${field}.${path}`, rule]));

const key = all(required, configKey);
const version = all(notNegative, rows(failed(INT64.max, status.NOT_FOUND, 'CONFIG_NOT_FOUND')));
const locality = { region: line(128), zone: line(128), sub_zone: line(128) };
const reported = { state: enumeration, note: prose(256) };
const watcher = { name: line(128), version: line(128), instance_id: line(128), labels: labels(16, line(128)) };
const criteria = {
  tags: list(64, all(required, line(128))),
  metadata: labels(64, prose(1_024)),
  version: line(128),
  ...under('locality', locality),
};
const filter = {
  ...under('any_of', criteria),
  ...under('none_of', criteria),
  any_of: each(times(9, () => ({}))),
  none_of: each(times(9, () => ({}))),
  tags: list(64, all(required, line(128))),
  metadata: labels(64, prose(1_024)),
  version: line(128),
  ...under('locality', locality),
  health_states: list(64, all(each(Health.HEALTH_UNSPECIFIED), enumeration), () => Health.HEALTH_HEALTHY),
};
const configWrite = {
  namespace,
  group: scope,
  author: line(128),
  comment: prose(1_024),
  request_id: runId,
};
const beats: Requests = {
  good: { instances: [{ service: 'pay', id: 'p1' }] },
  rules: {
    instances: each(
      [],
      times(1_001, (i) => ({ service: 'pay', id: `p${i}` })),
    ),
  },
};
const draft = (content: string | Buffer, format = ConfigFormat.CONFIG_FORMAT_UNSPECIFIED): Fields => ({
  key: 'app',
  content:
    typeof content === 'string' ? { case: 'text', value: content } : { case: 'data', value: new Uint8Array(content) },
  format,
});

/** Every method with a request that has fields. */
const REQUESTS: Record<string, Requests> = {
  Register: {
    good: {
      instance: {
        service: 'pay',
        id: 'p1',
        address: '10.0.0.7',
        port: 80,
        endpoints: [{ name: 'metrics', port: 90 }],
        ttl: { seconds: 15n },
      },
    },
    rules: {
      instance: rows(
        refused(undefined, 'instance', 'instance.service', 'instance.id'),
        refused({ service: 'pay' }, 'instance.id'),
        refused({ service: 'pay', address: 'my_host', namespace: '', id: 'a b' }, 'instance.id'),
        refused(
          { service: 'pay', id: 'p1', metadata: Object.fromEntries(times(9, (i) => [i, 'a'.repeat(1_000)])) },
          'instance',
        ),
      ),
      'instance.checks': each(times(5, (i) => ({ name: `c${i}`, probe: { case: 'tcp', value: {} } }))),
      'instance.namespace': namespace,
      'instance.service': all(required, scope),
      'instance.id': instanceId,
      'instance.address': address,
      'instance.port': range(0, 65_535),
      'instance.endpoints': rows(
        refused(
          times(17, (i) => ({ name: `e${i}`, port: 80 })),
          'instance.endpoints',
        ),
        refused(
          times(2, () => ({ name: 'e', port: 80 })),
          'instance.endpoints[1].name',
        ),
      ),
      'instance.endpoints.name': all(required, scope),
      'instance.endpoints.address': address,
      'instance.endpoints.port': range(1, 65_535),
      'instance.endpoints.app_protocol': line(64),
      'instance.tags': list(64, all(required, line(128))),
      'instance.metadata': labels(64, prose(1_024)),
      'instance.version': line(128),
      ...under('instance.locality', locality),
      'instance.weight': range(0, 10_000),
      'instance.ttl.seconds': rows(
        ...[0n, 1n, -15n, 601n, INT64.min, INT64.max].map((seconds) => refused(seconds, 'instance.ttl')),
      ),
      'instance.ttl.nanos': range(0, 999_999_999),
      'instance.liveness': enumeration,
      ...under('instance.reported', reported),
      incarnation: all(required, runId),
      replaces_revision: notNegative,
    },
  },
  Deregister: {
    good: { service: 'pay', id: 'p1' },
    rules: {
      namespace,
      service: all(required, scope),
      id: all(required, instanceId),
      incarnation: all(required, runId),
      author: line(128),
      comment: prose(1_024),
    },
  },
  Heartbeat: beats,
  StreamHeartbeats: beats,
  Discover: {
    good: { service: 'pay', subset: { size: 1, key: 'me' } },
    rules: {
      namespace,
      service: all(required, scope),
      ...under('filter', filter),
      'subset.size': range(1, 10_000),
      'subset.key': all(required, prose(256)),
      min_revision: minRevision,
    },
  },
  WatchServices: {
    good: { services: ['pay'] },
    rules: {
      namespace,
      services: all(each([]), list(256, all(required, scope))),
      all: rows(refused(true, 'services')),
      ...under('filter', filter),
      resume_token: resumeToken,
      ...under('watcher', watcher),
    },
  },
  GetInstance: {
    good: { service: 'pay', id: 'p1' },
    rules: {
      namespace,
      service: all(required, scope),
      id: all(required, instanceId),
      min_revision: minRevision,
    },
  },
  ListServices: {
    good: {},
    rules: { namespace, page_size: pageSize, page_token: pageToken, min_revision: minRevision },
  },
  ListNamespaces: { good: {}, rules: { page_size: pageSize, page_token: pageToken, min_revision: minRevision } },
  ListInstances: {
    good: { namespace: 'default', service: 'pay', filter: {} },
    rules: {
      namespace: all(namespace, rows(refused('', 'namespace'))),
      service: scope,
      address,
      ...under('filter', filter),
      page_size: pageSize,
      page_token: pageToken,
      min_revision: minRevision,
    },
  },
  DeregisterInstances: {
    good: { instances: [{ service: 'pay', id: 'p1' }] },
    rules: {
      instances: each(
        [],
        times(1_001, (i) => ({ service: 'pay', id: `p${i}` })),
      ),
      'instances.namespace': namespace,
      'instances.service': all(required, scope),
      'instances.id': all(required, instanceId),
      'instances.incarnation': all(required, runId),
      author: line(128),
      comment: prose(1_024),
    },
  },
  SetInstanceOverride: {
    good: {
      ...{ service: 'pay', id: 'p1', state: OverrideState.OVERRIDE_STATE_DRAIN, comment: 'why' },
      expireAfter: { seconds: 60n },
    },
    rules: {
      namespace,
      service: all(required, scope),
      id: all(required, instanceId),
      incarnation: all(required, runId),
      state: all(required, enumeration),
      weight: range(0, 10_000),
      'expire_after.seconds': rows(
        ...[0n, -1n, 2_592_001n, INT64.min, INT64.max].map((seconds) => refused(seconds, 'expire_after')),
      ),
      'expire_after.nanos': range(0, 999_999_999),
      comment: all(required, prose(1_024)),
      author: line(128),
      expected_revision: notNegative,
    },
  },
  SetServiceChecks: {
    good: { service: 'pay', checks: [{ probe: { case: 'tcp', value: {} } }], comment: 'why' },
    rules: {
      namespace,
      service: all(required, scope),
      checks: each(times(5, (i) => ({ name: `c${i}`, probe: { case: 'tcp', value: {} } }))),
      comment: prose(1_024),
      author: line(128),
    },
  },
  ListServiceChecks: {
    good: {},
    rules: { namespace, page_size: pageSize, page_token: pageToken, min_revision: minRevision },
  },
  ReleaseChecks: {
    good: { service: 'pay', comment: 'why' },
    rules: {
      namespace,
      service: all(required, scope),
      id: instanceId,
      comment: all(required, prose(1_024)),
      author: line(128),
    },
  },
  GetCheckResults: {
    good: { service: 'pay', id: 'p1' },
    rules: { namespace, service: all(required, scope), id: all(required, instanceId) },
  },
  ClearInstanceOverride: {
    good: { service: 'pay', id: 'p1' },
    rules: {
      namespace,
      service: all(required, scope),
      id: all(required, instanceId),
      expected_revision: notNegative,
      comment: prose(1_024),
      author: line(128),
    },
  },
  ListInstanceOverrides: {
    good: {},
    rules: { namespace, service: scope, page_size: pageSize, page_token: pageToken, min_revision: minRevision },
  },
  Why: {
    good: { service: 'pay', id: 'p1', subset: { size: 1, key: 'me' }, filter: {} },
    rules: {
      namespace,
      service: all(required, scope),
      id: all(required, instanceId),
      incarnation: all(required, runId),
      ...under('filter', filter),
      'subset.size': range(1, 10_000),
      'subset.key': all(required, prose(256)),
      limit: range(0, 1_000),
    },
  },
  ListTransitions: {
    good: { namespace: 'default', service: 'pay', id: 'p1' },
    rules: {
      namespace: all(namespace, rows(refused('', 'namespace'))),
      service: all(scope, rows(refused('', 'service'))),
      id: instanceId,
      page_size: pageSize,
      page_token: pageToken,
    },
  },
  WatchTransitions: {
    good: { namespace: 'default', service: 'pay', id: 'p1' },
    rules: {
      namespace: all(namespace, rows(refused('', 'namespace'))),
      service: all(scope, rows(refused('', 'service'))),
      id: instanceId,
      token: pageToken,
    },
  },
  ListLiveness: {
    good: { namespace: 'default', service: 'pay' },
    rules: {
      namespace: all(namespace, rows(refused('', 'namespace'))),
      service: scope,
      page_size: pageSize,
      page_token: pageToken,
    },
  },
  ListWatchers: {
    good: { key: 'app' },
    rules: {
      namespace,
      service: rows(refused('pay', 'service')),
      group: scope,
      key: configKey,
      page_size: pageSize,
      page_token: pageToken,
    },
  },
  GetDelivery: {
    good: { service: 'pay', revision: 1n },
    rules: { namespace, service: all(required, scope), revision: all(each(0n), notNegative) },
  },
  PublishConfig: {
    good: { configs: [draft('debug: true')] },
    rules: {
      ...configWrite,
      configs: rows(
        refused([], 'configs'),
        refused(
          times(51, (i) => ({ ...draft(''), key: `k${i}` })),
          'configs',
        ),
        refused(
          times(2, () => draft('')),
          'configs[1].key',
        ),
        refused([{ key: 'app' }], 'configs[0].text'),
        refused([draft(Buffer.from([0xff]), ConfigFormat.CONFIG_FORMAT_TEXT)], 'configs[0].data'),
        refused([draft(Buffer.from([0xff]), 99 as ConfigFormat)], 'configs[0].format'),
        refused(
          times(2, (i) => ({ ...draft('a'.repeat(300_000)), key: `k${i}` })),
          'configs',
        ),
      ),
      'configs.key': key,
      'configs.text': rows(refused('a'.repeat(524_289), 'configs')),
      'configs.data': rows(refused(new Uint8Array(524_289), 'configs')),
      'configs.format': all(
        enumeration,
        rows(
          ...[ConfigFormat.CONFIG_FORMAT_JSON, ConfigFormat.CONFIG_FORMAT_TOML].map((format) =>
            refused(format, 'configs[0].text'),
          ),
        ),
      ),
      'configs.labels': labels(64, prose(1_024)),
      'configs.expected_version': all(notNegative, rows(failed(INT64.max, status.ABORTED, 'VERSION_MISMATCH'))),
    },
  },
  GetConfig: {
    good: { key: 'app' },
    rules: { namespace, group: scope, key, version, min_revision: minRevision, ...under('watcher', watcher) },
  },
  ListConfigs: {
    good: {},
    rules: {
      namespace,
      group: scope,
      prefix: configPrefix,
      page_size: pageSize,
      page_token: pageToken,
      min_revision: minRevision,
    },
  },
  DeleteConfig: {
    good: { key: 'app' },
    rules: {
      ...configWrite,
      key,
      expected_version: all(notNegative, rows(failed(INT64.max, status.ABORTED, 'VERSION_MISMATCH'))),
    },
  },
  ListConfigVersions: {
    good: { key: 'app' },
    rules: {
      namespace,
      group: scope,
      key,
      page_size: pageSize,
      page_token: all(pageToken, each(...['', 'x', '-1', '9'.repeat(20)].map(afterVersion))),
      min_revision: minRevision,
    },
  },
  RollbackConfig: {
    good: { key: 'app', version: 1n },
    rules: {
      ...configWrite,
      key,
      version: all(each(0n), version),
      expected_version: notNegative,
    },
  },
  WatchConfig: {
    good: { filters: [{ keys: ['app'] }] },
    rules: {
      namespace,
      filters: each(
        [],
        times(65, () => ({})),
      ),
      'filters.group': scope,
      'filters.keys': list(256, key),
      'filters.prefixes': list(64, all(required, configPrefix)),
      all: rows(refused(true, 'filters')),
      resume_token: resumeToken,
      ...under('watcher', watcher),
    },
  },
  ReleaseProtection: {
    good: { service: 'pay' },
    rules: { namespace, service: all(required, scope), author: line(128), comment: prose(1_024) },
  },
  ForgetMember: {
    good: { node: 'a' },
    rules: { node: all(required, line(128)) },
  },
  ListAuditEvents: {
    good: {},
    rules: {
      principal: line(1_024),
      method: line(1_024),
      resource: line(1_024),
      page_size: pageSize,
      page_token: pageToken,
    },
  },
};

/** A bad item of a heartbeat is rejected alone; see heartbeats.test.ts. */
const BEATS = ['Heartbeat', 'StreamHeartbeats'];

/** Fields that may hold anything, and why. */
const CHECK_FIELDS = [
  ...['name', 'endpoint', 'unhealthy_threshold', 'healthy_threshold'],
  ...['interval', 'timeout', 'deregister_after', 'tls.min_validity'].flatMap((one) => [
    `${one}.seconds`,
    `${one}.nanos`,
  ]),
  ...['tls.server_name', 'tls.verify', 'grpc.service', 'grpc.authority'],
  ...['http.path', 'http.host', 'http.method', 'http.headers'],
  ...['http.healthy_statuses', 'http.degraded_statuses'].flatMap((one) => [one, `${one}.from`, `${one}.to`]),
];

const FREE: Record<string, string> = {
  ...Object.fromEntries(
    BEATS.flatMap((method) =>
      ['namespace', 'service', 'id', 'incarnation', 'reported.state', 'reported.note'].map((field) => [
        `${method}.instances.${field}`,
        'costs only its item, or nothing',
      ]),
    ),
  ),
  ...Object.fromEntries(
    [
      ...['Discover', 'GetInstance', 'ListInstances', 'ListServices', 'ListNamespaces', 'ListInstanceOverrides'],
      ...['GetConfig', 'ListServiceChecks', 'ListConfigs', 'ListConfigVersions'],
    ].map((method) => [`${method}.barrier`, 'either value is a request of its own']),
  ),
  ...Object.fromEntries(
    ['Register.instance.checks', 'SetServiceChecks.checks'].flatMap((place) =>
      CHECK_FIELDS.map((field) => [`${place}.${field}`, 'its rule is tried in checks.test.ts']),
    ),
  ),
  'SetInstanceOverride.force': 'either value is a request of its own',
  'PublishConfig.validate_only': 'either value is a request of its own',
  'ReleaseChecks.all_services': 'either value is a request of its own; its rule is tried in checks.test.ts',
  'ListAuditEvents.failures_only': 'either value is a request of its own',
  ...Object.fromEntries(
    [
      ...['incarnation', 'health', 'health_reason', 'revision'],
      ...['register_time.seconds', 'register_time.nanos', 'change_time.seconds', 'change_time.nanos'],
      ...['registration_revision', 'health_note'],
    ].map((field) => [`Register.instance.${field}`, 'set by the server, and ignored in a request']),
  ),
};

/** A token of a page of the versions of "app" that ended with a version; the client could make it itself. */
function afterVersion(last: string): string {
  const name = { namespace: 'default', group: 'default', key: 'app' };
  return encodePageToken({ after: [last], selection: hashSelection(['ListConfigVersions', name]) });
}

const OURS = METHODS.filter(({ parent }) => parent.typeName.startsWith('rollcall.v1.'));
const MALFORMED = { code: status.INVALID_ARGUMENT, reason: 'MALFORMED_REQUEST', fields: [] };

/** A place as the table names it: "instance.endpoints.port". */
const tableName = (place: Place): string => place.map(({ name }) => name).join('.');

/** A place as errors name it: "instance.endpoints[0].port". */
const errorName = (place: Place): string =>
  place.map(({ name, fieldKind }, i) => name + (fieldKind === 'list' && i < place.length - 1 ? '[0]' : '')).join('.');

const encode = ({ input }: DescMethod, fields: Fields): Uint8Array => toBinary(input, create(input, fields));

/** The good request of a method with another value at one place. */
function withValue(method: DescMethod, place: Place, value: unknown): Uint8Array {
  const fields = structuredClone(REQUESTS[method.name]!.good);
  let parent = fields;
  for (const { localName, fieldKind, oneof } of place.slice(0, -1)) {
    if (oneof) {
      const held = parent[oneof.localName] as { case?: string; value?: Fields } | undefined;
      const value: Fields = held?.case === localName ? held.value! : {};
      parent[oneof.localName] = { case: localName, value };
      parent = value;
      continue;
    }
    const next = (parent[localName] ??= fieldKind === 'list' ? [{}] : {});
    parent = (Array.isArray(next) ? next[0] : next) as Fields;
  }
  const { localName, oneof } = place.at(-1)!;
  if (oneof) parent[oneof.localName] = { case: localName, value };
  else parent[localName] = value;
  return encode(method, fields);
}

/** The values of text at a place: alone, in a list, or as key and value of a map. */
function asText(place: Place, value: string): unknown[] {
  const field = place.at(-1)!;
  if (field.scalar !== ScalarType.STRING) return [];
  if (field.fieldKind === 'map') return [{ [value]: 'v' }, { k: value }];
  return field.fieldKind === 'list' ? [[value]] : [value];
}

/** Stands where bytes that are not UTF-8 go: a lone surrogate, an overlong "/", a cut character, and nonsense. */
const PLACEHOLDER = 'zzzz';
const NO_TEXT = ['61eda080', 'c0afc0af', '6161e282', 'fffefdfc'].map(fromHex);

/** Bytes that are no protobuf message, whatever its fields. */
const NO_MESSAGE = [
  ...['ff', '0a', '0a05', '0a0561', '0aff', '00', '0000', '0b', '0c', '0d00', '0f', `08${'ff'.repeat(11)}`],
  ...['0b', '7b'].map((group) => group.repeat(100_000)),
].map(fromHex);

function fromHex(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

async function assertNothingStored(server: ServerProcess): Promise<void> {
  const { counts } = await eventually(async () => {
    const answer = await getStatus(server);
    return answer.counts?.watches === 0 ? answer : undefined;
  });
  assert.deepEqual(counts, {
    namespaces: 0,
    services: 0,
    instances: 0,
    configs: 0,
    tombstones: 0,
    watches: 0,
    protectedServices: 0,
  });
  assert.deepEqual((await listNamespaces(server)).namespaces, []);
  assertAtEase(server);
}

/** The process lives, and met nothing that it did not expect. */
function assertAtEase(server: ServerProcess): void {
  assert.equal(server.process.exitCode, null);
  assert.doesNotMatch(server.log.join('\n'), /internal error/);
}

test('every field of every request has a rule in the table, or a reason to have none', () => {
  const fields = OURS.flatMap((method) =>
    placesIn(method.input)
      .filter((place) => place.at(-1)!.fieldKind !== 'message')
      .map((place) => `${method.name}.${tableName(place)}`),
  );
  const ruled = Object.entries(REQUESTS).flatMap(([method, { rules }]) =>
    Object.keys(rules).map((field) => `${method}.${field}`),
  );
  const known = [...ruled.filter((field) => field !== 'Register.instance'), ...Object.keys(FREE)];
  const without = (all: readonly string[], others: readonly string[]): string[] => {
    const set = new Set(others);
    return all.filter((one) => !set.has(one));
  };
  assert.deepEqual(
    [without(fields, known), without(known, fields)],
    [[], []],
    'those without a rule, and rules without a field',
  );
  assert.equal(new Set(known).size, known.length, 'each has one rule');
});

test('a bad value is refused with the right code, its field is named, and nothing is stored', async (t) => {
  const server = await startServer(t);
  const sent = OURS.flatMap((method) =>
    placesIn(method.input).flatMap((place) => {
      const rule = REQUESTS[method.name]?.rules[tableName(place)];
      return (rule?.(errorName(place)) ?? []).map(async ({ value, ...expected }) => {
        const outcome = await send(server.registry, pathOf(method), withValue(method, place, value));
        assert.deepEqual(outcome, expected, `${method.name}.${tableName(place)} = ${inspect(value).slice(0, 200)}`);
      });
    }),
  );
  assert.ok(sent.length > 1_400, `only ${sent.length}`);
  await Promise.all(sent);
  await assertNothingStored(server);
});

test('text that is not UTF-8 is refused in every field that holds text', async (t) => {
  const server = await startServer(t);
  for (const method of OURS) {
    if (BEATS.includes(method.name)) continue;
    for (const place of placesIn(method.input)) {
      for (const value of asText(place, PLACEHOLDER)) {
        const bytes = Buffer.from(withValue(method, place, value));
        const start = bytes.indexOf(PLACEHOLDER);
        for (const bad of NO_TEXT) {
          bad.copy(bytes, start);
          const outcome = await send(server.registry, pathOf(method), bytes);
          assert.deepEqual(outcome, MALFORMED, `${method.name}.${tableName(place)} = ${bad.toString('hex')}`);
        }
      }
    }
  }
  await assertNothingStored(server);
});

test('bytes that are no message are refused by every method', async (t) => {
  const server = await startServer(t);
  for (const method of METHODS) {
    for (const bytes of NO_MESSAGE) {
      const outcome = await send(server.registry, pathOf(method), bytes);
      assert.deepEqual(outcome, MALFORMED, `${pathOf(method)} with ${bytes.toString('hex', 0, 20)}`);
    }
  }
  await assertNothingStored(server);
});

test('a payload of 10 MB is refused by every method, also when it comes compressed, and costs no memory', async (t) => {
  const server = await startServer(t);
  const session = openSession(t, server.address);
  const payload = Buffer.alloc(10 * 1_024 * 1_024);
  const compressed = framed(gzipSync(payload), 1);
  const before = peakMemoryOf(server);
  for (const method of METHODS) {
    assert.equal((await send(server.registry, pathOf(method), payload)).code, status.RESOURCE_EXHAUSTED, method.name);
    const answer = await sendRaw(session, { ':path': pathOf(method), 'grpc-encoding': 'gzip' }, compressed);
    assert.equal(answer['grpc-status'], String(status.RESOURCE_EXHAUSTED), method.name);
  }
  const grown = peakMemoryOf(server) - before;
  assert.ok(grown < 10 * payload.length, `${grown} bytes for ${2 * METHODS.length} payloads of ${payload.length}`);
  await assertNothingStored(server);
});

test('however much is wrong, the answer fits in the headers that clients take, and says how much it leaves out', async (t) => {
  const server = await startServer(t);
  const session = openSession(t, server.address);
  const refusal = async (name: string, fields: Fields): Promise<string> => {
    const method = OURS.find((one) => one.name === name)!;
    const answer = await sendRaw(session, { ':path': pathOf(method) }, framed(encode(method, fields)));
    assert.equal(answer['grpc-status'], String(status.INVALID_ARGUMENT));
    // This is how HTTP/2 counts them, and 8 KiB what stock clients take.
    const bytes = Object.entries(answer).reduce((sum, [key, value]) => sum + key.length + String(value).length + 32, 0);
    assert.ok(bytes < 8_192, `${bytes} bytes of headers`);
    return decodeURIComponent(String(answer['grpc-message']));
  };
  const tags = await refusal('Register', { instance: { service: 'pay', id: 'p1', tags: times(100_000, () => '') } });
  assert.match(tags, /^instance\.tags: must have up to 64 tags; .*; and 99\d{3} more$/);
  const metadata = Object.fromEntries(times(64, (i) => ['\x01'.repeat(200) + i, '']));
  assert.match(await refusal('Register', { instance: { service: 'pay', id: 'p1', metadata } }), /more$/);
  // The parser quotes the text: all of it, and half a character.
  for (const content of [`%YAML ${'💥'.repeat(10_000)}`, '"\\💥"']) {
    const configs = [draft(content, ConfigFormat.CONFIG_FORMAT_YAML)];
    assert.match(await refusal('PublishConfig', { configs }), /^configs\[0\]\.text: does not parse as yaml: line 1/);
  }
  await assertNothingStored(server);
});

test('what the server sets itself is ignored in a request, whatever it holds', async (t) => {
  const server = await startServer(t);
  const NONSENSE = 99 as number;
  const NEVER = { seconds: INT64.min, nanos: -1 };
  const { instance, revision } = await register(server, {
    instance: {
      ...{ service: 'pay', id: 'p1', incarnation: '/\0', revision: INT64.max },
      ...{ health: NONSENSE, healthReason: NONSENSE, registerTime: NEVER, changeTime: NEVER },
    },
    incarnation: 'run-1',
  });
  assert.deepEqual(
    [instance?.incarnation, instance?.health, instance?.healthReason, instance?.revision],
    ['run-1', Health.HEALTH_HEALTHY, HealthReason.HEALTH_REASON_UNSPECIFIED, revision],
  );
  for (const time of [instance?.registerTime, instance?.changeTime]) assert.ok(time!.seconds > 0n);
  assertAtEase(server);
});

test('what stands at its bound is taken', async (t) => {
  const server = await startServer(t);
  const name = 'a'.repeat(128);
  const namespace = 'a'.repeat(63);
  const { instance } = await register(server, {
    instance: {
      ...{
        namespace,
        service: name,
        id: name,
        address: `${`${'a'.repeat(62)}.`.repeat(4)}a`,
        port: 65_535,
        weight: 10_000,
        version: name,
      },
      endpoints: times(16, (i) => ({ name: `e${i}`, port: 65_535, appProtocol: 'a'.repeat(64) })),
      tags: times(64, (i) => `t${i}`),
      metadata: new Map([[name, 'é'.repeat(512)], ...times(63, (i): [string, string] => [`k${i}`, ''])]),
      ttl: { seconds: 600n, nanos: 0 },
      reported: { state: ReportedState.REPORTED_STATE_HEALTHY, note: 'a'.repeat(256) },
    },
    incarnation: 'a'.repeat(64),
    replacesRevision: INT64.max,
  });
  assert.deepEqual([instance?.tags.length, instance?.metadata.size, instance?.endpoints.length], [64, 64, 16]);
  const key = 'a'.repeat(256);
  // Labels count, too.
  const bytes = 524_288 - 1_024 - name.length;
  const { configs } = await publishConfig(server, {
    ...{ namespace, group: name, author: name, comment: 'a'.repeat(1_024), requestId: 'a'.repeat(64) },
    configs: [{ key, content: text('a'.repeat(bytes)), labels: new Map([[name, 'a'.repeat(1_024)]]) }],
  });
  assert.equal(configs[0]?.size, bytes);
  const found = await listConfigs(server, { namespace, group: name, prefix: key, pageSize: 2 ** 31 - 1 });
  assert.equal(found.configs.length, 1);
  assertAtEase(server);
});

test('names that mean something in JavaScript are data', async (t) => {
  const server = await startServer(t);
  const words = ['constructor', 'toString', 'hasOwnProperty', 'then'];
  const special = ['__proto__', ...words];
  const metadata = new Map(special.map((word) => [word, `of ${word}`]));
  for (const service of words)
    for (const id of special) await register(server, { instance: { service, id, tags: special, metadata } });
  const filter = { tags: ['__proto__'], metadata: new Map([['__proto__', 'of __proto__']]) };
  for (const service of words) {
    const { instances } = await discover(server, { service, filter });
    assert.deepEqual(instances.map(({ id }) => id).sort(), [...special].sort());
    for (const instance of instances) assert.deepEqual(instance.metadata, metadata);
    const { rejected } = await heartbeat(server, { instances: special.map((id) => ({ service, id })) });
    assert.deepEqual(rejected, []);
    await deregister(server, { service, id: '__proto__' });
    assert.equal((await failure(getInstance(server, { service, id: 'valueOf' }))).code, status.NOT_FOUND);
  }
  assert.deepEqual(
    (await listServices(server)).services.map(({ service }) => service),
    [...words].sort(),
  );
  assert.deepEqual((await discover(server, { service: 'valueOf' })).instances, []);

  const write = { namespace: 'constructor', group: 'constructor', requestId: '__proto__' };
  const content = text('{"__proto__":{"admin":true},"constructor":null}');
  const configs = special.map((word) => ({
    key: `${word}/${word}`,
    content,
    labels: metadata,
    format: ConfigFormat.CONFIG_FORMAT_JSON,
  }));
  const published = await publishConfig(server, { ...write, configs });
  assert.deepEqual(await publishConfig(server, { ...write, configs }), published);
  for (const word of special) {
    const { config } = await getConfig(server, { ...write, key: `${word}/${word}` });
    assert.deepEqual([config?.content, config?.labels], [content, metadata]);
    assert.equal((await failure(getConfig(server, { ...write, key: word }))).code, status.NOT_FOUND);
  }
  const ask = reflectionClient(t, server.address, 'v1');
  for (const word of special) {
    for (const kind of ['fileByFilename', 'fileContainingSymbol', 'allExtensionNumbersOfType'])
      assert.equal((await ask({ [kind]: word })).errorResponse?.errorCode, status.NOT_FOUND);
    const health = METHODS.find(({ parent, name }) => parent.typeName === 'grpc.health.v1.Health' && name === 'Check')!;
    const { code } = await send(server.registry, pathOf(health), encode(health, { service: word }));
    assert.equal(code, status.NOT_FOUND);
  }
  assertAtEase(server);
});
