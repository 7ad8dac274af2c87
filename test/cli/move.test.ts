import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OverrideState } from '../../src/gen/rollcall/v1/override.js';
import { CommandLine } from '../support/cli.js';
import {
  deleteConfig,
  deregister,
  getConfig,
  listConfigs,
  listConfigVersions,
  listInstances,
  publishConfig,
  register,
  setInstanceOverride,
  setServiceChecks,
  text,
} from '../support/client.js';
import { startEtcd } from '../support/etcd.js';
import {
  eventually,
  failure,
  pause,
  type ServerProcess,
  startServer,
  startServerOn,
  temporaryFolder,
} from '../support/server.js';
import { Liveness } from '../../src/gen/rollcall/v1/instance.js';

const STATIC = { liveness: Liveness.LIVENESS_STATIC };

/** Fills a server with every kind of record: among them ones that name revisions at which nothing was written last. */
async function fill(server: ServerProcess, instances: number): Promise<void> {
  for (let i = 0; i < instances; i += 50)
    await Promise.all(
      Array.from({ length: Math.min(50, instances - i) }, (_, j) => {
        const instance = {
          service: `s${(i + j) % 7}`,
          id: `i${i + j}`,
          address: '10.0.0.1',
          port: i + j + 1,
          ...STATIC,
        };
        return register(server, { instance, incarnation: 'a' });
      }),
    );
  // Defined after the instances: they are taken for passing, by the order of the revisions alone.
  const check = { name: 'tcp', endpoint: 'none', probe: { $case: 'tcp' as const, value: {} } };
  await setServiceChecks(server, { service: 's1', checks: [check], comment: 'first' });
  await setServiceChecks(server, { service: 's1', checks: [{ ...check, unhealthyThreshold: 5 }], comment: 'second' });
  const late = { service: 's1', id: 'late', address: '10.0.0.2', port: 80, ...STATIC };
  await register(server, { instance: late, incarnation: 'a' });
  for (const [id, override] of Object.entries({
    i0: { state: OverrideState.OVERRIDE_STATE_DISABLE },
    i7: { weight: 7 },
  }))
    await setInstanceOverride(server, { service: 's0', id, comment: 'why not', ...override });
  await register(server, {
    instance: { service: 's2', id: 'i2', address: '10.0.0.1', port: 3, ...STATIC, tags: ['new'] },
    incarnation: 'a',
  });
  await deregister(server, { service: 's3', id: 'i3', comment: 'gone' });
  for (let version = 1; version <= 5; version++)
    await publishConfig(server, {
      configs: [
        { key: 'a.txt', content: text(`a${version}`) },
        { key: 'b/ü.txt', content: text(`b${version}`) },
      ],
      author: 'ann',
      comment: `version ${version}`,
    });
  await publishConfig(server, { configs: [{ key: 'gone.txt', content: text('x') }] });
  await deleteConfig(server, { key: 'gone.txt' });
}

/** Everything that clients see, in the order of its last change, without the numbers of revisions. */
async function shown(server: ServerProcess): Promise<object> {
  const { instances } = await listInstances(server, { pageSize: 1_000 });
  const { configs } = await listConfigs(server, { pageSize: 1_000 });
  const heads = [...instances, ...configs].sort((a, b) =>
    a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0,
  );
  const unnumbered = heads.map((one) => ({ ...one, revision: 0n, registrationRevision: 0n }));
  const versions = await Promise.all(
    ['a.txt', 'b/ü.txt', 'gone.txt'].map(async (key) => {
      const list = await listConfigVersions(server, { key });
      return list.versions.map((one) => ({ ...one, revision: 0n }));
    }),
  );
  const contents = await Promise.all(
    [1n, 3n, 5n].map(async (version) => (await getConfig(server, { key: 'b/ü.txt', version })).config!.content),
  );
  const gone = await failure(
    register(server, { instance: { service: 's3', id: 'i3', address: '10.0.0.1', port: 4 }, incarnation: 'a' }),
  );
  return { unnumbered, versions, contents, gone: gone.details.replace(/\d+/g, 'N') };
}

/** A settings file that names a store. */
function settingsFile(...lines: string[]): string {
  const file = join(temporaryFolder(), 'to.yaml');
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

test('a store moves from a folder to etcd and back: everything is as it was but for revisions, and nothing changes after', async (t) => {
  const folder = temporaryFolder();
  const first = await startServer(t, folder);
  await fill(first, 120);
  const before = await shown(first);
  const cli = new CommandLine(t, first.address);
  const etcd = await startEtcd(t);
  const [endpoints] = [etcd.endpoints.join(',')];
  const toEtcd = settingsFile('store: etcd', `etcd-endpoints: ${endpoints}`);
  const from = ['--data-dir', folder];
  const held = await cli.run(['store', 'move', ...from, '--to', toEtcd]);
  assert.match(held.stderr, /is held by process/);
  await first.stop();
  const dry = await cli.ok(['store', 'move', ...from, '--to', toEtcd, '--dry-run']);
  assert.match(
    dry,
    /^would move 121 instances, 2 overrides, 1 checks of services, .* 3 configs, 1\d versions of configs; /,
  );
  assert.match(dry, /nothing was written/);
  assert.match(
    await cli.ok(['store', 'move', ...from, '--to', toEtcd]),
    /^moved 121 instances, .*\nthe target has the new epoch \S+\. /,
  );
  const second = await startServerOn(t, etcd.endpoints);
  assert.deepEqual(await shown(second), before);
  const foreign = temporaryFolder();
  writeFileSync(join(foreign, 'README'), 'mine');
  for (const [target, error] of [
    [toEtcd, /the target is not empty/],
    [settingsFile('store: etcd', 'etcd-endpoints: http://127.0.0.1:1'), /127\.0\.0\.1:1|etcd/],
    [settingsFile(`data-dir: ${foreign}`), /is not empty: it has README/],
    [settingsFile(`data-dir: ${folder}`), /the source and the target are the same folder/],
  ] as const)
    for (const dry of [[], ['--dry-run']]) {
      const refused = await cli.run(['store', 'move', ...from, '--to', target, ...dry]);
      assert.deepEqual([refused.code, error.test(refused.stderr)], [1, true], refused.stderr);
    }
  await quiet(second);
  const again = await cli.run(['store', 'move', ...from, '--to', toEtcd]);
  assert.match(again.stderr, /the target is not empty/);
  const folderBack = join(temporaryFolder(), 'data');
  const back = settingsFile(`data-dir: ${folderBack}`);
  const backwards = ['store', 'move', '--store', 'etcd', '--etcd-endpoints', endpoints, '--to', back];
  assert.match((await cli.run(backwards)).stderr, /servers use the source: /);
  await second.stop();
  await cli.ok(backwards);
  const third = await startServer(t, folderBack);
  assert.deepEqual(await shown(third), before);
  await quiet(third);
});

/** The revision of a server stays where it is. */
async function quiet(server: ServerProcess): Promise<void> {
  const revision = async (): Promise<string> => {
    const { instances } = await listInstances(server, { pageSize: 1_000 });
    return instances.map((one) => one.revision).join();
  };
  const before = await revision();
  await pause(2_000);
  assert.equal(await revision(), before);
}

test('a move that is killed again and again goes on where it was, refuses servers meanwhile, and can be undone', async (t) => {
  const folder = temporaryFolder();
  const first = await startServer(t, folder);
  await fill(first, 3_000);
  const before = await shown(first);
  await first.stop();
  const cli = new CommandLine(t, first.address);
  const target = join(temporaryFolder(), 'data');
  const command = ['store', 'move', '--data-dir', folder, '--to', settingsFile(`data-dir: ${target}`)];
  let kills = 0;
  for (; kills < 20; kills++) {
    const moving = cli.start(command);
    await eventually(() => existsSync(join(target, 'data.mdb')) || undefined, 20_000);
    await pause(20 + Math.random() * 60);
    moving.process.kill('SIGKILL');
    const { code } = await moving.ended;
    if (code === 0) break;
    if (kills === 0) await refused(cli, target);
  }
  assert.ok(kills > 0, 'it was killed at least once');
  if (kills === 20) await cli.ok(command);
  const second = await startServer(t, target);
  assert.deepEqual(await shown(second), before);
  await second.stop();
  const other = join(temporaryFolder(), 'data');
  const elsewhere = [...command.slice(0, -1), settingsFile(`data-dir: ${other}`)];
  const moving = cli.start(elsewhere);
  await eventually(() => existsSync(join(other, 'data.mdb')) || undefined, 20_000);
  await pause(100);
  moving.process.kill('SIGKILL');
  if ((await moving.ended).code === 0) return;
  assert.match(await cli.ok([...elsewhere, '--undo']), /the move is undone: \d+ keys were deleted/);
  const empty = await startServer(t, other);
  assert.deepEqual((await listInstances(empty, {})).instances, []);
});

/** A server does not start on a store into which another one is being moved. */
async function refused(cli: CommandLine, folder: string): Promise<void> {
  const serve = await cli.run(['serve', '--data-dir', folder, '--grpc-port', '0']);
  assert.equal(serve.code, 1);
  assert.match(serve.stdout + serve.stderr, /the move is not finished: go on with \\?"rollcall store move\\?"/);
  const epoch = await cli.run(['store', 'new-epoch', '--data-dir', folder]);
  assert.match(epoch.stderr, /the move is not finished/);
}
