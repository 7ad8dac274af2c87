import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BackupRequest, type BackupResponse } from '../../src/gen/rollcall/v1/admin_service.js';
import type { Config } from '../../src/gen/rollcall/v1/config.js';
import { CommandLine } from '../support/cli.js';
import { getConfig, listConfigs, publishConfig, register } from '../support/client.js';
import { LONG } from '../support/cluster.js';
import { startEtcd } from '../support/etcd.js';
import {
  eventually,
  pause,
  type ServerProcess,
  startServer,
  startServerOn,
  temporaryFolder,
} from '../support/server.js';

/** Times that a process is killed during a backup. */
const KILLS = LONG ? 50 : 4;
const KEYS = 200;
const WRITES_PER_SECOND = 500;
const TICK_MS = 10;

/** What was published at a revision: two keys in one write, with the same text. */
interface Written {
  readonly revision: bigint;
  readonly keys: readonly [string, string];
  readonly text: string;
}

/** Publishes at a steady rate until it is stopped, and knows what was acknowledged. */
class Writer {
  readonly acknowledged: Written[] = [];
  #count = 0;
  #server: ServerProcess | undefined;

  constructor() {
    const began = performance.now();
    const timer = setInterval(() => {
      const due = ((performance.now() - began) / 1_000) * WRITES_PER_SECOND;
      for (; this.#count < due; this.#count++) if (this.#server) void this.#write(this.#server, this.#count);
    }, TICK_MS);
    this.stop = () => clearInterval(timer);
  }

  readonly stop: () => void;

  on(server: ServerProcess): void {
    this.#server = server;
  }

  off(): void {
    this.#server = undefined;
  }

  async #write(server: ServerProcess, n: number): Promise<void> {
    const key = `k${n % KEYS}`;
    const keys = [`${key}/a`, `${key}/b`] as const;
    const text = `${n} ${'x'.repeat(2_000)}`;
    const configs = keys.map((one) => ({ key: one, content: { $case: 'text' as const, value: text } }));
    const answer = await publishConfig(server, { configs }).catch(() => undefined);
    if (answer) this.acknowledged.push({ revision: answer.revision, keys, text });
  }
}

async function allHeads(server: ServerProcess): Promise<Config[]> {
  const heads: Config[] = [];
  let pageToken = '';
  do {
    const page = await listConfigs(server, { pageSize: 1_000, pageToken });
    heads.push(...page.configs);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return heads;
}

/** Holds what a restored server has against what was acknowledged up to a revision. */
async function assertRevision(
  restored: ServerProcess,
  revision: bigint,
  acknowledged: readonly Written[],
): Promise<void> {
  const heads = await allHeads(restored);
  const found = new Map(heads.map((head) => [head.key, head.revision]));
  const texts = new Map(acknowledged.map(({ revision: at, text }) => [at, text]));
  for (const [key, at] of found) assert.ok(at <= revision, `${key} is of ${at}, after ${revision}`);
  for (const { keys, revision: at } of acknowledged) {
    if (at > revision) continue;
    const [a, b] = keys.map((key) => found.get(key) ?? 0n) as [bigint, bigint];
    assert.equal(a, b, `${keys.join()}: one write`);
    assert.ok(a >= at, `${keys.join()} is of ${a}, and ${at} was acknowledged before ${revision}`);
  }
  for (const { key, revision: at } of heads.slice(0, 20)) {
    const text = texts.get(at);
    if (text !== undefined) {
      const { config } = await getConfig(restored, { key });
      assert.equal(config!.content?.value.toString(), text, `${key} of ${at}`);
    }
  }
}

test('S16: backups under 500 writes a second restore to exactly one revision, whoever is killed meanwhile', async (t) => {
  const folder = temporaryFolder();
  const file = join(temporaryFolder(), 'backup');
  let server = await startServer(t, folder);
  const writer = new Writer();
  t.after(() => writer.stop());
  writer.on(server);
  await eventually(() => writer.acknowledged.length > 2 * KEYS, 30_000);
  let whole = 0;
  for (let round = 0; round < KILLS; round++) {
    const cli = new CommandLine(t, server.address);
    const before = writer.acknowledged.at(-1)!.revision;
    const began = performance.now();
    const backup = cli.start(['store', 'backup', file]);
    const killsServer = round % 2 === 1;
    const killed = (async () => {
      await pause(250 + Math.random() * 350);
      if (killsServer) {
        writer.off();
        await server.kill();
      } else backup.process.kill('SIGKILL');
    })();
    const { code } = await backup.ended;
    const tookMs = performance.now() - began;
    await killed;
    if (killsServer) {
      server = await startServer(t, folder);
      assert.ok(!existsSync(join(folder, 'copy')), 'the copy of the server that died is gone');
      writer.on(server);
    }
    if (!existsSync(file)) continue;
    const { revision } = JSON.parse(readFileSync(file, 'utf8').split('\n', 1)[0]!) as { revision: string };
    if (code === 0) {
      whole++;
      assert.ok(
        BigInt(revision) >= before,
        `revision ${revision} after ${tookMs} ms, and ${before} was acknowledged before`,
      );
    }
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const target = join(temporaryFolder(), 'data');
    await cli.ok(['store', 'restore', file, '--data-dir', target]);
    const restored = await startServer(t, target);
    await assertRevision(restored, BigInt(revision), writer.acknowledged);
    await restored.stop();
  }
  writer.on(server);
  const { stdout } = await new CommandLine(t, server.address).run(['store', 'backup', file, '-o', 'json']);
  whole++;
  const { begin } = JSON.parse(stdout) as { begin: { revision: string; bytes: string } };
  assert.ok(Number(begin.bytes) > 1_000_000 && BigInt(begin.revision) > 0n, stdout);
  assert.ok(whole > 0);
  writer.stop();
});

test('a backup is refused while another is read, on etcd, and is an event of the audit', async (t) => {
  const server = await startServer(t);
  const file = join(temporaryFolder(), 'backup');
  const content = { $case: 'text' as const, value: 'x'.repeat(500_000) };
  for (let i = 0; i < 8; i++) await publishConfig(server, { configs: [{ key: `k${i}`, content }] });
  const slow = server.admin.makeServerStreamRequest<object, BackupResponse>(
    '/rollcall.v1.AdminService/Backup',
    (request) => Buffer.from(BackupRequest.encode(request as BackupRequest).finish()),
    (bytes) => bytes as never,
    {},
  );
  slow.on('error', () => undefined);
  await new Promise((resolve) => slow.once('data', resolve));
  slow.pause();
  const cli = new CommandLine(t, server.address);
  const refused = await cli.run(['store', 'backup', file]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /BACKUP_RUNNING|another backup of this server is being read/);
  slow.cancel();
  await eventually(async () => (await cli.run(['store', 'backup', file])).code === 0);
  assert.deepEqual(readdirSync(join(file, '..')), ['backup'], 'nothing else is left');
  const audit = await cli.ok(['audit', '--method', '/rollcall.v1.AdminService/Backup']);
  assert.match(audit, /Backup/);
  const etcd = await startEtcd(t);
  const other = await startServerOn(t, etcd.endpoints);
  const elsewhere = await new CommandLine(t, other.address).run(['store', 'backup', file]);
  assert.equal(elsewhere.code, 1);
  assert.match(
    elsewhere.stderr,
    /the store is etcd, which makes its own backups: etcdctl --endpoints \S+ snapshot save FILE/,
  );
});

test('a backup replaces files alone, and what is restored belongs to the owner of its folder', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const folder = temporaryFolder();
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const name of [folder, '/dev/null', pipe]) {
    const refused = await cli.run(['store', 'backup', name]);
    assert.deepEqual([refused.code, /is no file; name one/.test(refused.stderr)], [2, true], refused.stderr);
  }
  const [file, link] = [join(folder, 'backup'), join(folder, 'link')];
  writeFileSync(file, 'older');
  symlinkSync(file, link);
  await cli.ok(['store', 'backup', link]);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.ok(statSync(file).size > 1_000);
  assert.deepEqual(readdirSync(folder).sort(), ['backup', 'link', 'pipe']);
  const data = join(folder, 'data');
  mkdirSync(data);
  if (process.getuid!() === 0) chownSync(data, 65_532, 65_532); // the user of a service
  await cli.ok(['store', 'restore', file, '--data-dir', data]);
  const { uid } = statSync(data);
  const owners = readdirSync(data).map((name) => [name, statSync(join(data, name)).uid]);
  assert.ok(owners.length >= 2, owners.join());
  for (const [name, owner] of owners) assert.equal(owner, uid, String(name));
});

test('a restore takes only a whole backup and an empty folder, and leaves no data otherwise', async (t) => {
  const server = await startServer(t);
  const folder = temporaryFolder();
  const file = join(folder, 'backup');
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1', port: 80 }, incarnation: 'a' });
  const cli = new CommandLine(t, server.address);
  await cli.ok(['store', 'backup', file]);
  const { size } = statSync(file);
  const bad: Record<string, [change: (path: string) => void, error: RegExp]> = {
    cut: [(path) => truncateSync(path, size - 100), /is not whole: it has \d+ bytes of \d+/],
    flipped: [
      (path) => {
        const bytes = readFileSync(path);
        bytes[size - 500]! ^= 1;
        writeFileSync(path, bytes);
      },
      /is damaged: its checksum is wrong/,
    ],
    other: [(path) => writeFileSync(path, 'hello\n'), /is not a backup that this version reads/],
  };
  for (const [name, [change, error]] of Object.entries(bad)) {
    const path = join(folder, name);
    copyFileSync(file, path);
    change(path);
    const target = join(folder, `${name}-data`);
    const refused = await cli.run(['store', 'restore', path, '--data-dir', target]);
    assert.equal(refused.code, 1, name);
    assert.match(refused.stderr, error, name);
    assert.ok(!existsSync(join(target, 'data.mdb')), name);
    await cli.ok(['store', 'restore', file, '--data-dir', target]); // what a refused one leaves hinders nothing
  }
  const again = await cli.run(['store', 'restore', file, '--data-dir', join(folder, 'cut-data')]);
  assert.match(again.stderr, /is not empty: it has (clean|data\.mdb)/);
  const restored = await startServer(t, join(folder, 'cut-data'));
  const held = await cli.run(['store', 'restore', file, '--data-dir', join(folder, 'cut-data')]);
  assert.match(held.stderr, /is held by process \d+/);
  const { counts } = JSON.parse(await new CommandLine(t, restored.address).ok(['status', '-o', 'json'])) as {
    counts: { instances: string };
  };
  assert.equal(counts.instances, 1);
  const usage = await cli.run(['store', 'restore', file, '--store', 'etcd', '--etcd-endpoints', 'http://127.0.0.1:1']);
  assert.equal(usage.code, 2);
  assert.match(usage.stderr, /etcdutl snapshot restore/);
});
