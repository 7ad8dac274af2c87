import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ResetReason, WatchKind } from '../../src/gen/rollcall/v1/watch.js';
import { Dice } from '../support/dice.js';
import {
  discover,
  getConfig,
  getInstance,
  getStatus,
  heartbeat,
  listConfigVersions,
  publishConfig,
  register,
  text,
  watchServices,
} from '../support/client.js';
import { detailsOf, eventually, failure, MAIN, runProgram, startServer, temporaryFolder } from '../support/server.js';
import { putIntoFolder } from '../support/schema-1.js';

const KILLS = process.env.ROLLCALL_TEST_LONG ? 200 : 10;

/** Runs the server until it exits; for starts that must fail. */
function runServer(folder: string, command: readonly string[] = []): { status: number | null; stderr: string } {
  const [program, ...args] = [...command, process.execPath, MAIN, 'serve', '--grpc-port', '0', '--data-dir', folder];
  return spawnSync(program, args, { encoding: 'utf8', timeout: 15_000 });
}

test(`C1 C3: kill -9 in a write loop, ${KILLS} times: what was acknowledged is there, what was not is there whole or not at all`, async (t) => {
  const folder = temporaryFolder();
  const dice = new Dice(3);
  /** Acknowledged: instance -> its version; config key -> the content published last. */
  const instances = new Map<string, string>();
  const configs = new Map<string, string>();
  let newest = 0n;
  let written = 0;
  for (let kill = 0; kill <= KILLS; kill++) {
    const server = await startServer(t, folder);
    const { revision } = await getStatus(server);
    assert.ok(revision >= newest, `the revision went back from ${newest} to ${revision}`);
    const found = new Map(
      (await discover(server, { service: 'pay', minRevision: newest })).instances.map(({ id, version }) => [
        id,
        version,
      ]),
    );
    for (const [id, version] of instances) {
      // A later write that was not acknowledged may have happened; nothing older may stand there.
      assert.ok(Number(found.get(id)) >= Number(version), `${id}: ${found.get(id)} instead of ${version}`);
    }
    for (const [key, value] of configs) {
      const [a, b] = await Promise.all([
        getConfig(server, { key: `${key}/a` }),
        getConfig(server, { key: `${key}/b` }),
      ]);
      assert.ok(
        Number(a.config?.content?.value) >= Number(value),
        `${key}: ${Number(a.config?.content?.value)} instead of ${value}`,
      );
      assert.equal(a.config?.content?.value, b.config?.content?.value, 'a publish is there whole or not at all');
      assert.equal(a.config?.revision, b.config?.revision);
      const { versions } = await listConfigVersions(server, { key: `${key}/a`, pageSize: 1 });
      assert.deepEqual(
        [versions[0]?.version, versions[0]?.sha256],
        [a.config?.version, a.config?.sha256],
        'the newest version is the head',
      );
    }
    if (kill === KILLS) {
      await server.stop();
      break;
    }
    let dead = false;
    const writer = async (n: number): Promise<void> => {
      while (!dead) {
        const id = `p${n}`;
        const version = `${++written}`;
        const answer = await register(server, {
          instance: { service: 'pay', id, address: '10.0.0.1', version },
          incarnation: id,
        }).catch(() => undefined);
        if (!answer) return;
        instances.set(id, version);
        if (answer.revision > newest) newest = answer.revision;
      }
    };
    const publisher = async (n: number): Promise<void> => {
      while (!dead) {
        const key = `k${n}`;
        const value = `${++written}`;
        const answer = await publishConfig(server, {
          configs: ['a', 'b'].map((part) => ({ key: `${key}/${part}`, content: text(value) })),
        }).catch(() => undefined);
        if (!answer) return;
        configs.set(key, value);
        if (answer.revision > newest) newest = answer.revision;
      }
    };
    const before = written;
    const writing = Promise.all([...[0, 1, 2, 3].map(writer), ...[0, 1].map(publisher)]);
    const enough = before + 20 + Math.floor(dice.between(0, 150));
    await eventually(() => written > enough, 10_000, 1);
    await server.kill();
    dead = true;
    await writing;
  }
  assert.ok(instances.size === 4 && configs.size === 2);
});

test('one server per data folder: the second says who holds it, and a killed one is followed at once', async (t) => {
  const folder = temporaryFolder();
  const first = await startServer(t, folder);
  const second = runServer(folder);
  assert.equal(second.status, 1);
  assert.match(second.stderr, new RegExp(`held by process ${first.process.pid} on `));
  await register(first, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  await first.kill();
  const next = await startServer(t, folder);
  assert.equal((await discover(next, { service: 'pay' })).instances.length, 1);
});

test('a folder that is no folder, or cannot be written, is named', () => {
  const folder = temporaryFolder();
  const file = join(folder, 'file');
  writeFileSync(file, 'x');
  const notFolder = runServer(file);
  assert.equal(notFolder.status, 1);
  assert.match(notFolder.stderr, /is not a folder/);
  assert.equal(readFileSync(file, 'utf8'), 'x');
  const readOnly = join(temporaryFolder(), 'ro');
  const mount = `mkdir -p ${readOnly} && mount -t tmpfs -o ro,size=1m none ${readOnly} && exec "$0" "$@"`;
  const refused = runServer(readOnly, [...unshare(), 'sh', '-c', mount]);
  assert.equal(refused.status, 1, refused.stderr);
  assert.match(refused.stderr, /cannot be written/);
});

/** A mount namespace of one's own, with or without being root. */
function unshare(): string[] {
  return process.getuid?.() === 0 ? ['unshare', '--mount'] : ['unshare', '--user', '--map-root-user', '--mount'];
}

/** A data folder with some hundred records, whose server ended cleanly or was killed. */
async function filledFolder(t: Parameters<typeof startServer>[0], clean: boolean): Promise<string> {
  const folder = temporaryFolder();
  const server = await startServer(t, folder);
  await Promise.all(
    Array.from({ length: 400 }, (_, i) =>
      register(server, {
        instance: { service: 'pay', id: `p${i}`, address: '10.0.0.1', metadata: new Map([['k', 'v'.repeat(200)]]) },
      }),
    ),
  );
  await (clean ? server.stop() : server.kill());
  assert.equal(existsSync(join(folder, 'clean')), clean);
  return folder;
}

const damages: Record<string, (file: string) => void> = {
  'a truncated file': (file) => truncateSync(file, Math.floor(statSync(file).size / 2 / 4_096) * 4_096),
  'zeroed meta pages': (file) => overwrite(file, 0, Buffer.alloc(8_192)),
  'an empty file': (file) => truncateSync(file, 0),
  'noise in the middle': (file) => overwrite(file, 8_192, Buffer.alloc(statSync(file).size - 8_192, 0x5a)),
  'one flipped byte in a record': (file) => {
    const bytes = readFileSync(file);
    const at = bytes.lastIndexOf('v'.repeat(50));
    overwrite(file, at, Buffer.from([bytes[at]! ^ 1]));
    // Each record may stand in older pages too: all of them are hit.
    for (let from = bytes.indexOf('vvvvv'); from >= 0; from = bytes.indexOf('vvvvv', from + 300))
      overwrite(file, from, Buffer.from('w'));
  },
};

function overwrite(file: string, at: number, bytes: Buffer): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, at);
  closeSync(descriptor);
}

for (const [damage, inflict] of Object.entries(damages)) {
  test(`damage after a crash: ${damage} is told in clear words, and nothing is changed`, async (t) => {
    const folder = await filledFolder(t, false);
    const file = join(folder, 'data.mdb');
    inflict(file);
    const before = readFileSync(file);
    const { status, stderr } = runServer(folder);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /rollcall: the data in .* is damaged: /);
    assert.match(stderr, /Restore the folder from a backup/);
    assert.ok(before.equals(readFileSync(file)));
  });
}

/** Damage that copies of files have: they are cut, or another file lies there. */
const damagesOfCopies: typeof damages = {
  ...Object.fromEntries(Object.entries(damages).filter(([damage]) => damage !== 'noise in the middle')),
  'a missing file': (file) => rmSync(file),
};

for (const [damage, inflict] of Object.entries(damagesOfCopies)) {
  test(`damage after a clean end: ${damage} is told in clear words, twice, and nothing is changed`, async (t) => {
    const folder = await filledFolder(t, true);
    const file = join(folder, 'data.mdb');
    inflict(file);
    const before = existsSync(file) ? readFileSync(file) : undefined;
    for (const command of ['serve', 'serve', 'new-epoch']) {
      const { status, stderr } =
        command === 'serve' ? runServer(folder) : runProgram('store', 'new-epoch', '--data-dir', folder);
      assert.equal(status, 1, stderr);
      assert.match(stderr, /the data in .* is damaged: /);
    }
    assert.deepEqual(existsSync(file) ? readFileSync(file) : undefined, before);
  });
}

test('a data file that replaces the one of a clean end is checked, and used if it is whole', async (t) => {
  const [one, other] = [await filledFolder(t, true), await filledFolder(t, true)];
  const server = await startServer(t, other);
  await register(server, { instance: { service: 'other', id: 'o', address: '10.0.0.1' } });
  await server.stop();
  copyFileSync(join(other, 'data.mdb'), join(one, 'data.mdb'));
  const again = await startServer(t, one);
  assert.equal((await discover(again, { service: 'other' })).instances.length, 1);
  assert.ok(again.log.some((line) => line.includes('not the one that the last run left; checking the data')));
});

test('a copy of the folder of a stopped server is a backup', async (t) => {
  const folder = await filledFolder(t, true);
  const backup = temporaryFolder();
  copyFileSync(join(folder, 'data.mdb'), join(backup, 'data.mdb'));
  const server = await startServer(t, backup);
  assert.equal((await getStatus(server)).counts?.instances, 400);
});

test('a folder of schema 1 is refused by serve and by store new-epoch, with a way out, and stays unchanged', () => {
  const folder = temporaryFolder();
  const before = putIntoFolder(folder);
  for (const command of [
    ['serve', '--grpc-port', '0'],
    ['store', 'new-epoch'],
  ]) {
    const { status, stderr } = runProgram(...command, '--data-dir', folder);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /rollcall: the store was written with schema 1; this program reads schema 2 and newer/);
    assert.match(stderr, /start this version with an empty --data-dir.*Instances register again by themselves/);
    assert.ok(before.equals(readFileSync(join(folder, 'data.mdb'))), command.join(' '));
  }
});

test('store new-epoch ends a restore: a token of before is answered with a snapshot', async (t) => {
  const folder = temporaryFolder();
  const server = await startServer(t, folder);
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  const watch = watchServices(server, { services: ['pay'] });
  await watch.seen(({ revision }) => revision > 0n);
  const { store: before } = await getStatus(server);
  const inUse = runProgram('store', 'new-epoch', '--data-dir', folder);
  assert.equal(inUse.status, 1);
  assert.match(inUse.stderr, /is held by process/);
  await server.stop();
  const missing = runProgram('store', 'new-epoch', '--data-dir', join(folder, 'missing'));
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /there is no data folder/);
  assert.equal(existsSync(join(folder, 'missing')), false);
  const { status, stdout, stderr } = runProgram('store', 'new-epoch', '--data-dir', folder);
  assert.deepEqual([status, stderr], [0, '']);
  const again = await startServer(t, folder);
  const { store: after } = await getStatus(again);
  assert.equal(stdout, `the store has the new epoch ${after?.epoch}\n`);
  assert.notEqual(after?.epoch, before?.epoch);
  const next = watchServices(again, { services: ['pay'], resumeToken: watch.token });
  const { kind, resetReason, upserted } = await next.seen(({ revision }) => revision > 0n);
  assert.deepEqual(
    [kind, resetReason, upserted.map(({ id }) => id)],
    [WatchKind.WATCH_KIND_SNAPSHOT, ResetReason.RESET_REASON_OTHER_STORE, ['p1']],
  );
});

test('a data folder that is deleted under a running server ends it, and says so', async (t) => {
  const folder = join(temporaryFolder(), 'data');
  const server = await startServer(t, folder);
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  rmSync(folder, { recursive: true });
  assert.equal(await server.exited, 1);
  assert.ok(server.log.some((line) => line.includes('was deleted or replaced while the server was running')));
});

test('a full disk: writes are refused, reads and beats go on, and room brings writes back without a restart', async (t) => {
  const mountPoint = temporaryFolder();
  const ballast = join(mountPoint, 'ballast');
  const folder = join(mountPoint, 'data');
  // The server lives in a mount namespace where its folder is a disk of 8 MB; /proc/<pid>/root shows it to us.
  const command = [...unshare(), 'sh', '-c', `mount -t tmpfs -o size=8m none ${mountPoint} && exec "$0" "$@"`];
  const server = await startServer(t, folder, command);
  const inside = (path: string): string => `/proc/${server.process.pid}/root${path}`;
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' }, incarnation: 'a' });
  await publishConfig(server, { configs: [{ key: 'kept', content: text('kept') }] });
  let refused: Awaited<ReturnType<typeof failure>> | undefined;
  let published = 0;
  for (let i = 0; i < 100 && !refused; i++) {
    await publishConfig(server, { configs: [{ key: `big/${i}`, content: text(`${i}`.padEnd(200_000, 'x')) }] }).then(
      () => published++,
      (error: unknown) => (refused = error as typeof refused),
    );
    if (i === 2) fillDisk(inside(ballast), 2 * 1_024 * 1_024);
  }
  assert.ok(refused, 'the disk became full');
  assert.deepEqual([refused.code, detailsOf(refused).reason, detailsOf(refused).retry], [8, 'STORE_FULL', true]);
  const status = await getStatus(server);
  assert.equal(status.store?.writable, false);
  assert.ok(status.alarms.some(({ name }) => name === 'STORE_FULL'));
  assert.ok(server.log.some((line) => line.includes('"level":"error"') && line.includes('STORE_FULL')));
  // Reads and beats do not need the disk.
  assert.equal((await discover(server, { service: 'pay' })).instances.length, 1);
  assert.deepEqual(
    (await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', incarnation: 'a' }] })).rejected,
    [],
  );
  assert.equal((await getConfig(server, { key: 'kept' })).config?.content?.value, 'kept');
  const again = await failure(register(server, { instance: { service: 'pay', id: 'p2', address: '10.0.0.1' } }));
  assert.equal(detailsOf(again).reason, 'STORE_FULL');

  rmSync(inside(ballast));
  await eventually(async () => (await getStatus(server)).store?.writable, 15_000, 200);
  await register(server, { instance: { service: 'pay', id: 'p2', address: '10.0.0.1' } });
  assert.deepEqual((await getStatus(server)).alarms, []);
  for (let i = 0; i < published; i++) {
    const { config } = await getConfig(server, { key: `big/${i}` });
    assert.equal(config?.size, 200_000);
  }
  assert.equal((await getInstance(server, { service: 'pay', id: 'p2' })).instance?.id, 'p2');
  assert.equal(await server.stop(), 0);
});

/** Takes `bytes` of a disk. */
function fillDisk(file: string, bytes: number): void {
  writeFileSync(file, Buffer.alloc(bytes));
  chmodSync(file, 0o600);
}
