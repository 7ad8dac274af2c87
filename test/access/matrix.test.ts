import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { JsonObject } from '@bufbuild/protobuf';
import { ROLES } from '../../src/access/actions.js';
import {
  accessFile,
  callBy,
  callerWith,
  type CallOutcome,
  startAlone,
  startWithAccess,
  type TestCaller,
  waysTo,
} from '../support/access.js';
import { METHODS } from '../support/wire.js';

/** The table of docs/reference/access.md: a cell for each call and role. */
function readTable(): { roles: string[]; rows: Map<string, string[]> } {
  const text = readFileSync(new URL('../../docs/reference/access.md', import.meta.url), 'utf8');
  const lines = text.split('\n').filter((line) => line.startsWith('| '));
  const cellsOf = (line: string): string[] =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const head = lines.findIndex((line) => line.startsWith('| Call '));
  const [, ...roles] = cellsOf(lines[head]!);
  const rows = lines
    .slice(head + 1)
    .map(cellsOf)
    .filter(([call]) => !call!.startsWith('---'));
  return { roles, rows: new Map(rows.map(([call, ...cells]) => [call!, cells])) };
}

const { roles, rows } = readTable();
const CELLS = ['named', 'namespace', 'all', 'everywhere', 'part', 'brief', 'yes', 'no'];

/** The names of a grant that does not have everything, and places within and outside of it. */
const NAMED = '{ role: ROLE, namespaces: [shop], services: [pay], configs: ["default/pay/*"] }';
const EVERYTHING = '{ role: ROLE, namespaces: ["*"], services: ["*"], configs: ["*"] }';
const WHOLE = '{ role: ROLE, namespaces: [shop], services: ["*"], configs: ["*"] }';
const WITHIN = { namespace: 'shop', service: 'pay', key: 'pay/a' };
const PLACES = {
  within: WITHIN,
  /** Another object of the same namespace. */
  beside: { namespace: 'shop', service: 'cart', key: 'cart/a' },
  /** The same name in another namespace. */
  outside: { ...WITHIN, namespace: 'other' },
} as const;
type Place = keyof typeof PLACES;
type Names = (typeof PLACES)[Place];

/** The request of each call at a place. */
const REQUESTS: Readonly<Record<string, (names: Names) => JsonObject>> = {
  Register: ({ namespace, service }) => ({ instance: { namespace, service, id: 'i', address: '10.0.0.1', port: 1 } }),
  'Register (with checks)': ({ namespace, service }) => ({
    instance: { namespace, service, id: 'c', address: '10.0.0.1', port: 1, checks: [{ tcp: {} }] },
  }),
  Deregister: ({ namespace, service }) => ({ namespace, service, id: 'none' }),
  DeregisterInstances: ({ namespace, service }) => ({ instances: [{ namespace, service, id: 'none' }] }),
  Heartbeat: ({ namespace, service }) => ({ instances: [{ namespace, service, id: 'i' }] }),
  StreamHeartbeats: ({ namespace, service }) => ({ instances: [{ namespace, service, id: 'i' }] }),
  Discover: ({ namespace, service }) => ({ namespace, service }),
  GetInstance: ({ namespace, service }) => ({ namespace, service, id: 'i' }),
  'WatchServices (some)': ({ namespace, service }) => ({ namespace, services: [service] }),
  'WatchServices (all)': ({ namespace }) => ({ namespace, all: true }),
  ListInstances: ({ namespace, service }) => ({ namespace, service }),
  ListServices: ({ namespace }) => ({ namespace }),
  ListNamespaces: () => ({}),
  SetInstanceOverride: ({ namespace, service }) => ({ namespace, service, id: 'none', weight: 1, comment: 'test' }),
  ClearInstanceOverride: ({ namespace, service }) => ({ namespace, service, id: 'none' }),
  ListInstanceOverrides: ({ namespace, service }) => ({ namespace, service }),
  SetServiceChecks: ({ namespace, service }) => ({ namespace, service, comment: 'test' }),
  ListServiceChecks: ({ namespace }) => ({ namespace }),
  ReleaseChecks: ({ namespace, service }) => ({ namespace, service, comment: 'test' }),
  GetCheckResults: ({ namespace, service }) => ({ namespace, service, id: 'i' }),
  PublishConfig: ({ namespace, key }) => ({ namespace, configs: [{ key, text: String(Math.random()) }] }),
  DeleteConfig: ({ namespace, key }) => ({ namespace, key: `${key}-none` }),
  RollbackConfig: ({ namespace, key }) => ({ namespace, key, version: '999' }),
  GetConfig: ({ namespace, key }) => ({ namespace, key }),
  ListConfigVersions: ({ namespace, key }) => ({ namespace, key }),
  ListConfigs: ({ namespace }) => ({ namespace }),
  'WatchConfig (keys, prefixes)': ({ namespace, key }) => ({
    namespace,
    filters: [{ keys: [key], prefixes: [`${key}/`] }],
  }),
  'WatchConfig (all)': ({ namespace }) => ({ namespace, all: true }),
  GetStatus: () => ({}),
  GetSelf: () => ({}),
  Why: ({ namespace, service }) => ({ namespace, service, id: 'i' }),
  ListTransitions: ({ namespace }) => ({ namespace }),
  WatchTransitions: ({ namespace }) => ({ namespace }),
  ListLiveness: ({ namespace }) => ({ namespace }),
  ListWatchers: ({ namespace }) => ({ namespace }),
  GetDelivery: ({ namespace, service }) => ({ namespace, service, revision: '1' }),
  ReleaseProtection: ({ namespace, service }) => ({ namespace, service }),
  ForgetMember: () => ({ node: 'none' }),
  Backup: () => ({}),
  LastHeard: () => ({}),
  Probe: () => ({}),
  HandOver: () => ({}),
  GetStoreStatus: () => ({}),
  AnswerPart: () => ({}),
  ListAuditEvents: () => ({}),
  'Health.Check': () => ({}),
};

/** Refusals for lack of a right. Any other error comes from behind the rule. */
const REFUSALS = ['NOT_ALLOWED', 'CREDENTIAL_REQUIRED'];

/** Whether the caller was let through, by the outcome. */
function isLetThrough(call: string, { reason, answer }: CallOutcome): boolean {
  const [rejected] = (answer['rejected'] ?? []) as { reason: string }[];
  if (rejected?.reason === 'REJECTION_REASON_NOT_ALLOWED') return false;
  const [result] = (answer['results'] ?? []) as { reason?: string }[];
  if (result?.reason === 'NOT_ALLOWED') return false;
  if (call === 'GetStatus') return reason === '' && 'counts' in answer;
  // Without a cluster a member is asked in vain, and a client proves nothing.
  if (METHODS.some(({ name, parent }) => name === call && parent.name === 'PeerService')) return false;
  return !REFUSALS.includes(reason);
}

/** What a grant must have so that a cell lets its caller through at a place. */
function expected(cell: string, grant: 'named' | 'whole' | 'everything', place: Place): boolean {
  switch (cell) {
    case 'yes':
      return true;
    case 'part':
      return true;
    case 'named':
      return grant === 'everything' || place === 'within' || (grant === 'whole' && place === 'beside');
    case 'namespace':
      return grant === 'everything' || place !== 'outside';
    case 'all':
      return grant === 'everything' || (grant === 'whole' && place !== 'outside');
    case 'everywhere':
      return grant === 'everything';
    default:
      return false;
  }
}

test('A4: the table has every method of the contract, every role, and no other cell', () => {
  const calls = [...rows.keys()].map((call) => call.replace(/ \(.*\)$/, ''));
  const ours = METHODS.filter(({ parent }) => parent.typeName.startsWith('rollcall.')).map(({ name }) => name);
  assert.deepEqual(new Set(calls.filter((call) => !/[ .]/.test(call))), new Set(ours));
  assert.deepEqual(roles, ['none', ...Object.keys(ROLES)]);
  for (const [call, cells] of rows) {
    assert.equal(cells.length, roles.length, call);
    for (const cell of cells) assert.ok(CELLS.includes(cell), `${call}: ${cell}`);
    assert.ok(call in REQUESTS || call === 'GET /metrics', call);
  }
});

test('A4: every cell of the table is as a server answers it, over every transport', async (t) => {
  const callers = new Map<string, Record<'named' | 'whole' | 'everything', TestCaller>>();
  for (const role of roles.slice(1)) {
    const caller = (kind: string, grants: string): TestCaller =>
      callerWith(`${role}-${kind}`, grants.replace('ROLE', role));
    callers.set(role, {
      named: caller('named', NAMED),
      whole: caller('whole', WHOLE),
      everything: caller('everything', EVERYTHING),
    });
  }
  const path = accessFile([...callers.values()].flatMap((kinds) => Object.values(kinds)));
  const [server, library] = await Promise.all([startWithAccess(t, path), startAlone(t, path)]);
  const ways = waysTo(server, library);
  const admin = callers.get('admin')!.everything.token;
  for (const way of ['gRPC, lean', 'gRPC, grpc-js'])
    for (const names of Object.values(PLACES))
      for (const call of ['Register', 'PublishConfig'])
        assert.equal((await callBy(ways[way]!, call, REQUESTS[call]!(names), admin)).reason, '');

  let asked = 0;
  for (const [call, cells] of rows) {
    if (call === 'GET /metrics') continue;
    const method = call.replace(/ \(.*\)$/, '');
    const isPeer = METHODS.some(({ name, parent }) => name === method && parent.name === 'PeerService');
    for (const [way, transport] of Object.entries(ways)) {
      if ((method === 'StreamHeartbeats' || method.startsWith('Health.')) && !way.startsWith('gRPC,')) continue;
      for (const [i, role] of roles.entries()) {
        const cell = cells[i]!;
        for (const place of Object.keys(PLACES) as Place[]) {
          const request = REQUESTS[call]!(PLACES[place]);
          for (const [kind, token] of tokensOf(callers, role)) {
            const outcome = await callBy(transport, method, request, token);
            asked++;
            const where = `${call} by ${role} (${kind}) over ${way}, ${place}: ${JSON.stringify(outcome)}`;
            assert.equal(isLetThrough(call, outcome), expected(cell, kind, place), where);
            if (cell === 'brief') assert.ok(outcome.reason === '' && 'version' in outcome.answer, where);
            if (cell === 'no' && !isPeer)
              assert.ok(
                outcome.reason === '' || outcome.reason === (token ? 'NOT_ALLOWED' : 'CREDENTIAL_REQUIRED'),
                where,
              );
            if (cell === 'part') assertPart(role, kind, outcome, where);
          }
        }
      }
    }
  }
  assert.ok(asked > 5_000, String(asked));
});

/** A list shows the names that its caller may read. */
function assertPart(role: string, kind: string, { answer }: CallOutcome, where: string): void {
  const text = JSON.stringify(answer);
  const readsServices = role !== 'monitor';
  const readsConfigs = ['reader', 'publisher', 'service', 'admin'].includes(role);
  if (kind !== 'everything') assert.ok(!text.includes('other'), where);
  if (kind === 'named') assert.ok(role === 'service' ? !text.includes('cart/a') : !text.includes('cart'), where);
  if (!readsServices) assert.ok(!text.includes('"service"') && !text.includes('serviceCount'), where);
  if (!readsConfigs) assert.ok(!text.includes('"key"') && !text.includes('configCount'), where);
}

function tokensOf(
  callers: ReadonlyMap<string, Readonly<Record<'named' | 'whole' | 'everything', TestCaller>>>,
  role: string,
): ['named' | 'whole' | 'everything', string | undefined][] {
  const kinds = callers.get(role);
  if (!kinds) return [['named', undefined]];
  return (['named', 'whole', 'everything'] as const).map((kind) => [kind, kinds[kind].token]);
}

test('A4: metrics are for callers with the action "metrics" everywhere', async (t) => {
  const cells = rows.get('GET /metrics')!;
  const callers = roles.slice(1).map((role) => ({
    role,
    named: callerWith(`${role}-named`, NAMED.replace('ROLE', role)),
    everything: callerWith(`${role}-everything`, EVERYTHING.replace('ROLE', role)),
  }));
  const path = accessFile(callers.flatMap(({ named, everything }) => [named, everything]));
  const server = await startWithAccess(t, path);
  const statusFor = async (token: string | undefined): Promise<number> => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return (await fetch(`${server.url}/metrics`, { headers })).status;
  };
  assert.equal(await statusFor(undefined), 401);
  for (const { role, named, everything } of callers) {
    assert.equal(await statusFor(named.token), 403, role);
    assert.equal(await statusFor(everything.token), cells[roles.indexOf(role)] === 'everywhere' ? 200 : 403, role);
  }
  for (const path of ['/livez', '/readyz', '/version'])
    assert.equal((await fetch(server.url + path)).status, 200, path);
});
