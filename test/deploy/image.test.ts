import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, temporaryFolder } from '../support/server.js';
import { DEPLOY, packageFile, ROOT, run } from './tools.js';

const INSTALLED = 'opt/rollcall';
const IMAGE = join(DEPLOY, 'image');

/** What the last stage of the Dockerfile says of a container. */
function containerOf(dockerfile: string): {
  readonly user: string;
  readonly env: readonly string[];
  readonly command: readonly string[];
  readonly health: readonly string[];
} {
  const stage = dockerfile.slice(dockerfile.lastIndexOf('\nFROM ')).replaceAll('\\\n', ' ').split('\n');
  const words = (name: string): string => {
    const line = stage.find((one) => one.startsWith(`${name} `));
    assert.ok(line, name);
    return line.slice(name.length + 1).trim();
  };
  const list = (text: string): readonly string[] => JSON.parse(text) as string[];
  return {
    user: words('USER'),
    env: words('ENV').split(' '),
    command: [...list(words('ENTRYPOINT')), ...list(words('CMD'))],
    health: list(words('HEALTHCHECK').replace(/^.*?CMD /, '')),
  };
}

/** A root as that of the base image: Debian with Node and npm below /usr/local. */
function baseRoot(): string {
  const root = temporaryFolder();
  run('cp', ['-a', `${run('node', ['scripts/debian-root.js']).trim()}/.`, root]);
  chmodSync(root, 0o755);
  copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
  cpSync(run('npm', ['root', '--global']).trim(), join(root, 'usr/local/lib/node_modules'), { recursive: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  return root;
}

const filesOf = (root: string): ReadonlySet<string> => new Set(run('find', ['.', '-xdev'], root).trim().split('\n'));

test('an image is made by its steps, and serves as a user of its own from a root that cannot be written', async (t) => {
  const container = containerOf(readFileSync(join(IMAGE, 'Dockerfile'), 'utf8'));
  const root = baseRoot();
  run(join(IMAGE, 'install.sh'), [packageFile(), join(root, INSTALLED)]);
  const before = filesOf(root);
  const steps = 'mount --bind "$1" "$2/mnt" && exec chroot "$2" /mnt/finish.sh';
  run('unshare', ['--mount', 'sh', '-c', steps, 'sh', IMAGE, root]);
  const after = filesOf(root);

  await t.test('its contents', () => {
    assert.deepEqual([...after].filter((name) => !before.has(name)).sort(), ['./data', './usr/local/bin/rollcall']);
    for (const name of ['usr/local/lib/node_modules', 'usr/local/bin/npm'])
      assert.ok(!existsSync(join(root, name)), name);
    assert.ok(existsSync(join(root, 'usr/local/bin/node')));
    const installed = join(root, INSTALLED);
    assert.deepEqual(readdirSync(installed).sort(), [
      ...['CHANGELOG.md', 'LICENSE', 'README.md', 'README.zh.md', 'dist', 'node_modules', 'npm-shrinkwrap.json'],
      ...['package.json', 'proto'],
    ]);
    const pinned = JSON.parse(readFileSync(join(installed, 'npm-shrinkwrap.json'), 'utf8')) as {
      packages: Record<string, { dev?: boolean; optional?: boolean }>;
    };
    const names = [...after].map((name) => name.slice(2)).filter((name) => name.startsWith(`${INSTALLED}/`));
    const modules = names
      .map((name) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/package\.json$)/.exec(name)?.[0])
      .filter((name) => name !== undefined)
      .map((name) => name.slice(INSTALLED.length + 1));
    assert.ok(modules.length > 20, `${modules.length} packages`);
    for (const name of modules) assert.ok(pinned.packages[name] && !pinned.packages[name].dev, name);
    for (const [name, { dev, optional }] of Object.entries(pinned.packages))
      if (name !== '' && !dev && !optional) assert.ok(modules.includes(name), name);
    assert.deepEqual(
      names.filter((name) => /\.(map|d\.[mc]?ts)$/.test(name)),
      [],
    );
  });

  // As an engine does it: namespaces of its own, a root that is read-only, and a volume at /data.
  const [uid, gid] = container.user.split(':');
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
  const script = `set -eu
    root=$1 && shift
    ip link set lo up
    mount --bind "$root" "$root" && cd "$root"
    mount --bind /dev dev && mount -t proc proc proc
    mount -t tmpfs -o uid=${uid},gid=${gid},mode=0700 tmpfs data
    mount -o remount,bind,ro .
    exec chroot --userspec=${container.user} . /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin "$@"`;
  const server = spawn(
    'unshare',
    ['--mount', '--net', 'sh', '-c', script, 'sh', root, ...container.env, ...container.command],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const exited = once(server, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  t.after(() => server.kill('SIGKILL'));
  /** Runs a command in the container as its user, and returns its status and what it printed. */
  const inside = (...command: readonly string[]): { readonly status: number | null; readonly output: string } => {
    const into = [
      '--target',
      `${server.pid}`,
      '--mount',
      '--net',
      '--root',
      '--wd',
      '--setuid',
      uid!,
      '--setgid',
      gid!,
    ];
    const env = { PATH: '/usr/local/bin:/usr/bin:/bin' };
    const { status, stdout, stderr } = spawnSync('/usr/bin/nsenter', [...into, '--', ...command], {
      env,
      encoding: 'utf8',
    });
    return { status, output: stdout + stderr };
  };

  await t.test('its health check passes, and its command reaches it', async () => {
    const healthy = eventually(() => inside(...container.health).status === 0, 30_000);
    await Promise.race([healthy, exited.then((how) => Promise.reject(new Error(`it ended: ${String(how)}`)))]);
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.deepEqual(inside('rollcall', 'version'), { status: 0, output: `${version}\n` });
    const status = inside('rollcall', 'status', '-o', 'json');
    assert.equal(status.status, 0, status.output);
    assert.match(readFileSync(`/proc/${server.pid}/status`, 'utf8'), new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s`, 'm'));
  });

  await t.test('nothing but its data can be written', () => {
    for (const file of ['/opt/rollcall/x', '/tmp/x', '/usr/local/bin/x', '/etc/x'])
      assert.match(inside('/usr/bin/touch', file).output, /Read-only file system/, file);
    assert.equal(inside('/usr/bin/touch', '/data/x').status, 0);
  });

  await t.test('it ends in order', async () => {
    server.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
  });
});
