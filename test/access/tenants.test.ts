import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Transport } from '@connectrpc/connect';
import { accessFile, callBy, callerWith, type TestCaller, waysTo } from '../support/access.js';
import { startEtcd } from '../support/etcd.js';
import { onEtcd, type ServerProcess, startWith, temporaryFolder } from '../support/server.js';

/** How long the calls go on, and how many services and configs each tenant has. */
const CALLS_MS = 60_000;
const SERVICES = 1_000;
const CONFIGS = 100;
/** Calls at a time of each tenant. */
const AT_A_TIME = 4;

/** A tenant, whose every name, address and text has its word. Both share a namespace, and each has one of its own. */
interface Tenant extends TestCaller {
  readonly word: string;
  readonly namespace: string;
}

function tenant(word: string): Tenant {
  const own = callerWith(
    word,
    `{ role: OWN, namespaces: [shared], services: ["${word}-*"], configs: ["${word}-group/*"] }`,
    `{ role: OWN, namespaces: ["${word}"] }`,
  );
  return { ...own, entry: own.entry.replaceAll('OWN', 'owner'), word, namespace: word };
}

const [red, blue] = [tenant('crimson'), tenant('azure')];
const ROLES = 'roles: { owner: [read, register, operate, "config:read", "config:write"] }\n';

const random = <T>(of: readonly T[]): T => of[Math.floor(Math.random() * of.length)]!;
const nameOf = ({ word }: Tenant): string => `${word}-${Math.floor(Math.random() * SERVICES)}`;
const keyOf = ({ word }: Tenant): string => `${word}-${Math.floor(Math.random() * CONFIGS)}`;
const instanceOf = (owner: Tenant, namespace: string, service: string): JsonObject => ({
  ...{
    namespace,
    service,
    id: `${owner.word}-i`,
    address: `${owner.word}.example`,
    port: 1,
    ttl: '600s',
  },
  ...{ tags: [owner.word], metadata: { owner: owner.word } },
});

/** A random call of a tenant, with names of its own or of the other one. `token` of a page or a watch may come from either. */
function randomCall(self: Tenant, other: Tenant, tokens: Map<string, string[]>): [string, JsonObject] {
  const owner = random([self, self, other]);
  const namespace = random(['shared', 'shared', owner.namespace, 'default', '']);
  const [service, key, group] = [nameOf(owner), keyOf(owner), `${owner.word}-group`];
  const token = random(['', ...(tokens.get('page') ?? [])]);
  const resume = random(['', ...(tokens.get('resume') ?? [])]);
  return random<[string, JsonObject]>([
    [
      'Register',
      { instance: instanceOf(self, namespace, service), ...(Math.random() < 0.3 && { replacesRevision: '7' }) },
    ],
    ['Deregister', { namespace, service, id: `${owner.word}-i` }],
    [
      'Heartbeat',
      { instances: [self, other].map((one) => ({ namespace, service: nameOf(one), id: `${one.word}-i` })) },
    ],
    ['Discover', { namespace, service }],
    ['GetInstance', { namespace, service, id: `${owner.word}-i` }],
    ['ListServices', { namespace, pageSize: random([0, 1, 10, 1000]), pageToken: token }],
    [
      'ListInstances',
      {
        ...random<JsonObject>([{}, { namespace: 'shared' }, { namespace: 'shared', service }]),
        address: random(['', `${owner.word}.example`]),
        pageToken: token,
      },
    ],
    [
      'DeregisterInstances',
      { instances: [self, other].map((one) => ({ namespace, service: nameOf(one), id: 'none' })) },
    ],
    ['SetInstanceOverride', { namespace, service, id: `${owner.word}-i`, weight: 7, comment: self.word, force: true }],
    ['ClearInstanceOverride', { namespace, service, id: `${owner.word}-i` }],
    ['ListInstanceOverrides', random<JsonObject>([{}, { namespace: 'shared' }, { namespace: 'shared', service }])],
    ['SetServiceChecks', { namespace, service, comment: self.word, checks: [{ name: owner.word, tcp: {} }] }],
    ['ListServiceChecks', random<JsonObject>([{}, { namespace: 'shared' }])],
    ['ReleaseChecks', { namespace, service, comment: self.word }],
    ['GetCheckResults', { namespace, service, id: `${owner.word}-i` }],
    ['Why', { namespace, service: random([service, `${owner.word}-x1`]), id: random([`${owner.word}-i`, 'i']) }],
    ['ListTransitions', { ...random<JsonObject>([{}, { namespace: 'shared' }]), pageToken: token }],
    ['ListLiveness', { ...random<JsonObject>([{}, { namespace: 'shared' }]), pageToken: token }],
    ['ListWatchers', { namespace, pageToken: token }],
    ['GetDelivery', { namespace, service, revision: '5' }],
    ['ListNamespaces', { pageSize: random([0, 1, 10]), pageToken: token }],
    [
      'WatchServices',
      random<JsonObject>([
        { namespace, services: [service], resumeToken: resume },
        { namespace, all: true, resumeToken: resume },
      ]),
    ],
    [
      'PublishConfig',
      { namespace, group, requestId: `r-${Math.floor(Math.random() * 20)}`, configs: [{ key, text: self.word }] },
    ],
    ['GetConfig', { namespace, group, key, version: random(['0', '1', '9']) }],
    ['ListConfigs', { namespace, prefix: random(['', owner.word]), pageToken: token }],
    ['ListConfigVersions', { namespace, group, key, pageToken: token }],
    ['DeleteConfig', { namespace, group, key, expectedVersion: '999' }],
    ['RollbackConfig', { namespace, group, key, version: '999' }],
    [
      'WatchConfig',
      random<JsonObject>([
        { namespace, filters: [{ group, keys: [key] }], resumeToken: resume },
        { namespace, all: true, resumeToken: resume },
      ]),
    ],
    ['GetStatus', {}],
    ['GetSelf', {}],
    ['ReleaseProtection', { namespace, service }],
  ]);
}

/** Every text of an answer, with the JSON that its tokens hold. */
function textsOf(answer: JsonObject): string {
  const text = JSON.stringify(answer);
  const tokens = [...text.matchAll(/"(?:nextPageToken|resumeToken|continueToken)":"([\w-]+)"/g)];
  return text + tokens.map(([, token]) => Buffer.from(token!, 'base64url').toString()).join();
}

async function run(t: TestContext, args: readonly string[]): Promise<void> {
  const path = accessFile([red, blue], ROLES);
  const server: ServerProcess = await startWith(t, [...args, '--access', path], []);
  const ways: Transport[] = Object.values(waysTo(server, server));
  const fill = async (self: Tenant): Promise<void> => {
    const way = ways[0]!;
    const register = async (i: number): Promise<void> => {
      for (const namespace of ['shared', self.namespace]) {
        const { reason } = await callBy(
          way,
          'Register',
          { instance: instanceOf(self, namespace, `${self.word}-${i}`) },
          self.token,
        );
        assert.equal(reason, '');
      }
    };
    for (let i = 0; i < SERVICES; i += 50) await Promise.all(Array.from({ length: 50 }, (_, k) => register(i + k)));
    for (let i = 0; i < CONFIGS; i += 20) {
      const configs = Array.from({ length: 20 }, (_, k) => ({ key: `${self.word}-${i + k}`, text: self.word }));
      const request = { namespace: 'shared', group: `${self.word}-group`, configs };
      assert.equal((await callBy(way, 'PublishConfig', request, self.token)).reason, '');
    }
  };
  await Promise.all([red, blue].map(fill));

  const tokens = new Map<string, string[]>();
  const outcomes = new Map<string, number>();
  const until = performance.now() + CALLS_MS;
  const caller = async (self: Tenant, other: Tenant): Promise<void> => {
    while (performance.now() < until) {
      const [name, request] = randomCall(self, other, tokens);
      const { reason, message, answer } = await callBy(random(ways), name, request, self.token);
      outcomes.set(reason, (outcomes.get(reason) ?? 0) + 1);
      // A refusal repeats names of the request.
      const asked = JSON.stringify(request);
      const heard = `${textsOf(answer)} ${message}`;
      const repeats = ['Heartbeat', 'DeregisterInstances'].includes(name);
      const isFromRequest = asked.includes(other.word) && (reason !== '' || repeats);
      assert.ok(isFromRequest || !heard.includes(other.word), `${name} ${asked}: ${heard}`);
      if (isFromRequest)
        assert.ok(['NOT_ALLOWED', 'INVALID_REQUEST', ''].includes(reason), `${name} ${asked}: ${heard}`);
      for (const [kind, key] of [
        ['page', 'nextPageToken'],
        ['resume', 'resumeToken'],
      ] as const) {
        const found = new RegExp(`"${key}":"([\\w-]+)"`).exec(JSON.stringify(answer))?.[1];
        if (found) tokens.set(kind, [...(tokens.get(kind) ?? []), found].slice(-50));
      }
    }
  };
  await Promise.all(
    [
      [red, blue],
      [blue, red],
    ].flatMap(([self, other]) => Array.from({ length: AT_A_TIME }, () => caller(self!, other!))),
  );
  const count = [...outcomes.values()].reduce((sum, n) => sum + n, 0);
  assert.ok(
    count > 5_000 && outcomes.get('')! > count / 10 && outcomes.get('NOT_ALLOWED')! > count / 10,
    JSON.stringify([...outcomes]),
  );
}

test('A4: two tenants with 1,000 services each never hear of one another, on the embedded store', (t) =>
  run(t, ['--data-dir', temporaryFolder()]));

test('A4: two tenants with 1,000 services each never hear of one another, on etcd', async (t) => {
  const etcd = await startEtcd(t);
  await run(t, onEtcd(etcd.endpoints));
});
