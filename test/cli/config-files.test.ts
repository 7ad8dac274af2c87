import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { publishConfig, text } from '../support/client.js';
import { CommandLine } from '../support/cli.js';
import { eventually, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

async function stage(t: TestContext): Promise<{ server: ServerProcess; cli: CommandLine; folder: string }> {
  const server = await startServer(t);
  return { server, cli: new CommandLine(t, server.address), folder: join(temporaryFolder(), 'files') };
}

/** Every file below a folder, with its content. */
const filesOf = (folder: string): string =>
  execFileSync('sh', ['-c', `cd "${folder}" && find . -type f | sort | xargs sha256sum`]).toString();

const publish = (server: ServerProcess, configs: Record<string, string>, group = 'default'): Promise<unknown> =>
  publishConfig(server, {
    group,
    configs: Object.entries(configs).map(([key, value]) => ({ key, content: text(value) })),
  });

test('what is exported and imported elsewhere is exported in the same bytes, also keys that cannot be files', async (t) => {
  const { server, cli, folder } = await stage(t);
  const long = `${'k'.repeat(250)}/x`;
  await publish(server, {
    'app.yaml': 'a: 1\n',
    dir: 'one',
    'dir/two.txt': 'two',
    [long]: '3',
    '.rollcall.yaml': 'configs: {}\n',
    '配置.yaml': 'ü: 1\n',
  });
  await cli.ok(['config', 'put', 'blob', '--format', 'binary', '--label', 'env=prod', '-g', 'other'], { input: 'x' });
  await cli.ok(['config', 'export', folder]);
  assert.equal(readFileSync(join(folder, 'default/app.yaml'), 'utf8'), 'a: 1\n');
  assert.match(readFileSync(join(folder, 'default/.rollcall.yaml'), 'utf8'), /key: dir\n/);
  assert.equal((await cli.run(['config', 'export', folder])).code, 2, 'the folder is not empty');
  await cli.ok(['config', 'import', folder, '-n', 'copy']);
  const again = join(temporaryFolder(), 'again');
  await cli.ok(['config', 'export', again, '-n', 'copy']);
  assert.equal(filesOf(again), filesOf(folder));
  assert.match(await cli.ok(['config', 'import', folder, '-n', 'copy']), /^7 of 7 files are unchanged\n$/);
});

test('import publishes what differs, deletes nothing, and leaves hidden files and links out', async (t) => {
  const { server, cli, folder } = await stage(t);
  await publish(server, { 'app.yaml': 'a: 1\n', 'kept.yaml': 'k: 1\n' });
  mkdirSync(join(folder, 'default'), { recursive: true });
  writeFileSync(join(folder, 'default/app.yaml'), 'a: 2\n');
  writeFileSync(join(folder, 'default/.DS_Store'), 'x');
  symlinkSync('/etc/passwd', join(folder, 'default/link'));
  const dry = await cli.ok(['config', 'import', folder, '--dry-run']);
  assert.match(dry, /^~ default\/app\.yaml\n0 of 1 files are unchanged\n1 would be published, in 1 revisions\n$/);
  assert.equal(await cli.ok(['config', 'get', 'app.yaml']), 'a: 1\n');
  const { stderr } = await cli.run(['config', 'import', folder]);
  assert.match(stderr, /default\/\.DS_Store is left out/);
  assert.match(stderr, /default\/link is left out/);
  assert.equal(await cli.ok(['config', 'get', 'app.yaml']), 'a: 2\n');
  assert.equal(await cli.ok(['config', 'get', 'kept.yaml']), 'k: 1\n');
});

test('a dry run lets the server check every file, names those that it would refuse, and publishes nothing', async (t) => {
  const { server, cli, folder } = await stage(t);
  await publish(server, { 'app.yaml': 'a: 1\n' });
  for (const group of ['default', 'other', 'third']) mkdirSync(join(folder, group), { recursive: true });
  writeFileSync(join(folder, 'default/app.yaml'), 'a: [1\n');
  writeFileSync(join(folder, 'other/twice.json'), '{"a": 1, "a": 2}');
  writeFileSync(join(folder, 'third/bad.toml'), 'a = \n');
  const { code, stderr, stdout } = await cli.run(['config', 'import', folder, '--dry-run']);
  assert.equal(code, 1);
  assert.match(stderr, /default\/app\.yaml\.text: .*line/);
  assert.match(stderr, /third\/bad\.toml\.text: .*line/);
  assert.match(stderr, /other\/twice\.json\.\w+.*"a"/);
  assert.match(stderr, /2 of 3 revisions would be refused/);
  assert.match(stdout, /^~ default\/app\.yaml\n\+ other\/twice\.json\n\+ third\/bad\.toml\n/);
  assert.match(await cli.ok(['config', 'list']), /app\.yaml/);
  assert.doesNotMatch(await cli.ok(['config', 'list', '-g', 'other']), /twice/);
  const file = join(folder, 'default/app.yaml');
  const put = async (...args: string[]): Promise<string> => cli.ok(['config', 'put', 'app.yaml', file, ...args]);
  const refused = await cli.run(['config', 'put', 'app.yaml', file, '--dry-run']);
  assert.match(refused.stderr, /line/);
  writeFileSync(file, 'a: 2\n');
  assert.equal(await put('--dry-run'), 'default/app.yaml would get version 2; nothing is published\n');
  const stale = await cli.run(['config', 'put', 'app.yaml', file, '--dry-run', '--expected-version', '7']);
  assert.equal(stale.code, 6, stale.stderr);
  await put();
  assert.equal(await put('--dry-run'), 'default/app.yaml would stay at version 2; nothing is published\n');
});

test('import publishes a hundred files in the fewest revisions', async (t) => {
  const { cli, folder } = await stage(t);
  mkdirSync(join(folder, 'default'), { recursive: true });
  for (let i = 0; i < 100; i++) writeFileSync(join(folder, `default/c${i}.txt`), `v${i}`);
  const printed = await cli.ok(['config', 'import', folder]);
  assert.equal(printed.match(/are published, revision/g)!.length, 3);
});

test('sync shows each revision as a whole, and runs the command after it', async (t) => {
  const { server, cli, folder } = await stage(t);
  const keys = ['a.txt', 'b.txt', 'dir/c.txt'];
  const write = (n: number): Promise<unknown> =>
    publish(server, Object.fromEntries(keys.map((key) => [key, String(n)])));
  await write(0);
  const log = join(temporaryFolder(), 'log');
  const lock = join(temporaryFolder(), 'lock');
  const exec = `mkdir ${lock} || echo overlap >> ${log}; cat $ROLLCALL_DIR/a.txt >> ${log}; rmdir ${lock}`;
  const sync = cli.start(['config', 'sync', folder, '--exec', exec]);
  await eventually(() => existsSync(join(folder, 'current/a.txt')));
  let isOver = false;
  const torn: string[] = [];
  const seen = new Set<string>();
  const read = async (): Promise<void> => {
    while (!isOver) {
      const whole = realpathSync(join(folder, 'current'));
      const values = keys.map((key) => readFileSync(join(whole, key), 'utf8'));
      if (new Set(values).size > 1) torn.push(values.join());
      seen.add(values[0]!);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const reading = read();
  for (let n = 1; n <= 30; n++) await write(n);
  await eventually(() => readFileSync(join(folder, 'current/a.txt'), 'utf8') === '30');
  isOver = true;
  await reading;
  assert.deepEqual(torn, []);
  assert.ok(seen.size > 1);
  await eventually(() => readFileSync(log, 'utf8').endsWith('30'));
  assert.doesNotMatch(readFileSync(log, 'utf8'), /overlap/, 'the commands run one after the other');
  sync.process.kill('SIGTERM');
  assert.equal((await sync.ended).code, 0);
  assert.equal(statSync(join(folder, '..token')).mode & 0o777, 0o600);
});

test('sync goes on from its token, and keeps its files while no server answers', async (t) => {
  const { server, cli, folder } = await stage(t);
  await publish(server, { 'a.txt': '1', 'b.txt': '1' });
  await cli.ok(['config', 'sync', folder, '--once']);
  const first = readlinkSync(join(folder, 'current'));
  await cli.ok(['config', 'sync', folder, '--once']);
  assert.equal(readlinkSync(join(folder, 'current')), first, 'nothing has changed');
  await publish(server, { 'b.txt': '2' });
  const away = await cli.run(['config', 'sync', folder, '--once', '--server', '127.0.0.1:1']);
  assert.equal(away.code, 3);
  assert.match(away.stderr, /no server answers, and the files stay as they are/);
  assert.equal(readFileSync(join(folder, 'current/b.txt'), 'utf8'), '1');
  const sync = cli.start(['config', 'sync', folder]);
  await eventually(() => readFileSync(join(folder, 'current/b.txt'), 'utf8') === '2');
  assert.equal(readFileSync(join(folder, 'current/a.txt'), 'utf8'), '1');
  sync.process.kill('SIGTERM');
  assert.equal((await sync.ended).code, 0);
});

test('sync keeps the old files where a check fails, all configs are gone, or a key cannot be a file', async (t) => {
  const { server, cli, folder } = await stage(t);
  await publish(server, { 'a.txt': 'good' });
  const check = 'grep -q good {dir}/a.txt || { echo "a.txt is bad" >&2; exit 1; }';
  await cli.ok(['config', 'sync', folder, '--once', '--check', check]);
  await publish(server, { 'a.txt': 'bad' });
  const refused = await cli.run(['config', 'sync', folder, '--once', '--check', check]);
  assert.equal(refused.code, 7);
  assert.match(refused.stderr, /the check ended with 1: a\.txt is bad/);
  const now = (): string => readFileSync(join(folder, 'current/a.txt'), 'utf8');
  assert.equal(now(), 'good');
  await publish(server, { 'a.txt': 'good again', b: '1', 'b/c': '2' });
  const folderKey = await cli.run(['config', 'sync', folder, '--once', '--check', check]);
  assert.deepEqual(
    [folderKey.code, /the key "b" cannot be a file: it is the folder of another key/.test(folderKey.stderr)],
    [7, true],
  );
  assert.equal(now(), 'good');
  for (const key of ['a.txt', 'b', 'b/c']) await cli.ok(['config', 'delete', key]);
  const empty = await cli.run(['config', 'sync', folder, '--once']);
  assert.deepEqual([empty.code, /all configs are gone/.test(empty.stderr)], [7, true]);
  assert.equal(now(), 'good');
  await cli.ok(['config', 'sync', folder, '--once', '--allow-empty']);
  assert.deepEqual(readdirSync(join(folder, 'current')), []);
});
