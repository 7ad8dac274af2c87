import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ClientReadableStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  HeartbeatRequest,
  WatchServicesRequest,
  type WatchServicesResponse,
} from '../../src/gen/rollcall/v1/registry_service.js';
import { WatchConfigRequest } from '../../src/gen/rollcall/v1/config_service.js';
import { accessFile, callerWith, startWithAccess } from '../support/access.js';
import { TestIssuer } from '../support/jwts.js';
import {
  clientsOf,
  type Clients,
  closeClients,
  detailsOf,
  eventually,
  pause,
  temporaryFolder,
} from '../support/server.js';

/** A change of access must have reached every stream after this. */
const REACHED_MAX_MS = 10_000;
/** Watches of each kind. */
const EACH = 200;

/** A watch as a test sees it: its end, and its last token. */
interface Watched {
  reason: string | undefined;
  token: string;
  readonly stream: ClientReadableStream<WatchServicesResponse>;
}

const bearer = (token: string): Metadata => {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
};

function follow(stream: ClientReadableStream<WatchServicesResponse>): Watched {
  const watched: Watched = { reason: undefined, token: '', stream };
  stream.on('data', ({ progress }: WatchServicesResponse) => (watched.token = progress?.resumeToken || watched.token));
  stream.on('error', (error: ServiceError) => (watched.reason = detailsOf(error).reason));
  return watched;
}

test('A5: of 1,000 open watches those end whose right, token, key or time has gone, and the others see nothing', async (t) => {
  const folder = temporaryFolder();
  const keysFile = join(folder, 'keys.json');
  const issuer = await TestIssuer.create();
  const other = await TestIssuer.create(issuer.issuer, 'k2');
  writeFileSync(keysFile, JSON.stringify(await issuer.jwks(other)));
  const jwt = `jwt:
  - { alias: ci, issuer: "${issuer.issuer}", audience: rollcall, keys-file: "${keysFile}",
      grants: [{ if: { sub: "x:*" }, role: reader, namespaces: ["*"] }] }\n`;
  const grant = '{ role: reader, namespaces: [shop], services: [pay, cart] }';
  const kept = callerWith('kept', grant);
  const revoked = callerWith('revoked', grant);
  const shrunk = callerWith('shrunk', grant);
  const path = accessFile([kept, revoked, shrunk], jwt);
  const server = await startWithAccess(t, path);
  const channels: Clients[] = Array.from({ length: 10 }, () => clientsOf(server.address, credentials.createInsecure()));
  t.after(() => channels.forEach(closeClients));
  const signed = await issuer.sign({ sub: 'x:1' });
  const withdrawn = await other.sign({ sub: 'x:2' });
  const request = WatchServicesRequest.fromPartial({ namespace: 'shop', services: ['pay', 'cart'] });
  await eventually(async () => {
    const probe = follow(channels[0]!.registry.watchServices(request, bearer(withdrawn)));
    await eventually(() => probe.token || probe.reason);
    probe.stream.cancel();
    return probe.token;
  });
  const open = (token: string): Watched[] =>
    Array.from({ length: EACH }, (_, i) =>
      follow(channels[i % channels.length]!.registry.watchServices(request, bearer(token))),
    );
  const groups = {
    kept: open(kept.token),
    revoked: open(revoked.token),
    shrunk: open(shrunk.token),
    signed: open(signed),
    withdrawn: open(withdrawn),
  };
  const beats = channels[0]!.registry.streamHeartbeats(bearer(revoked.token));
  let beatsEnded = '';
  beats.on('error', (error: ServiceError) => (beatsEnded = detailsOf(error).reason));
  beats.write(HeartbeatRequest.fromPartial({ instances: [{ namespace: 'shop', service: 'pay', id: 'i' }] }));
  const [rejected] = await new Promise<{ reason: number }[]>((resolve) =>
    beats.once('data', (reply: { rejected: { reason: number }[] }) => resolve(reply.rejected)),
  );
  assert.equal(rejected!.reason, 6, 'a reader may not beat');
  const all = Object.values(groups).flat();
  await eventually(() => all.every(({ token }) => token !== ''));

  const next = accessFile(
    [kept, { ...shrunk, entry: shrunk.entry.replace('[pay, cart]', '[pay]') }],
    jwt,
    join(folder, 'next'),
  );
  writeFileSync(join(folder, 'next-keys'), JSON.stringify(await issuer.jwks()));
  const changedAt = performance.now();
  renameSync(next, path);
  renameSync(join(folder, 'next-keys'), keysFile);
  const ended = (watches: readonly Watched[], reason: string): boolean => watches.every((one) => one.reason === reason);
  await eventually(
    () => ended(groups.revoked, 'TOKEN_REFUSED') && ended(groups.shrunk, 'NOT_ALLOWED') && beatsEnded,
    15_000,
  );
  const fileMs = performance.now() - changedAt;
  assert.ok(fileMs < REACHED_MAX_MS, `the file reached all streams after ${fileMs} ms`);
  await eventually(() => ended(groups.withdrawn, 'TOKEN_REFUSED'), 15_000);
  const keysMs = performance.now() - changedAt;
  // The keys are looked at every 10 s.
  assert.ok(keysMs < REACHED_MAX_MS + 2_000, `the keys reached all streams after ${keysMs} ms`);
  await pause(1_000);
  assert.deepEqual(new Set([...groups.kept, ...groups.signed].map(({ reason }) => reason)), new Set([undefined]));

  const resumed = follow(
    channels[0]!.registry.watchServices({ ...request, resumeToken: groups.revoked[0]!.token }, bearer(kept.token)),
  );
  await eventually(() => resumed.token);
  for (const { stream } of [...all, resumed]) stream.cancel();
});

test('A5: a stream ends when its token does, and goes on with a new one', async (t) => {
  const grant = '{ role: reader, namespaces: [shop] }';
  const ending = callerWith('pay', grant);
  const next = callerWith('pay', grant);
  const end = new Date(Date.now() + 4_000).toISOString();
  const path = accessFile([{ ...ending, entry: ending.entry.replace('grants', `expires: "${end}", grants`) }, next]);
  const server = await startWithAccess(t, path);
  const request = WatchConfigRequest.fromPartial({ namespace: 'shop', all: true });
  const watch = (token: string, resumeToken = ''): Watched =>
    follow(server.config.watchConfig({ ...request, resumeToken }, bearer(token)) as never);
  const first = watch(ending.token);
  await eventually(() => first.reason, REACHED_MAX_MS + 4_000);
  assert.equal(first.reason, 'TOKEN_EXPIRED');
  assert.ok(first.token !== '');
  const second = watch(next.token, first.token);
  await eventually(() => second.token);
  second.stream.cancel();
  const third = watch(ending.token);
  await eventually(() => third.reason);
  assert.equal(third.reason, 'TOKEN_EXPIRED');
});
