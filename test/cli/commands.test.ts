import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { makeProgram } from '../../src/cli/program.js';
import { accessFile, callerWith, startWithAccess } from '../support/access.js';
import { authority } from '../support/certificates.js';
import { CommandLine } from '../support/cli.js';
import { register } from '../support/client.js';
import { eventually, MAIN, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

async function stage(t: TestContext): Promise<{ server: ServerProcess; cli: CommandLine }> {
  const server = await startServer(t);
  return { server, cli: new CommandLine(t, server.address) };
}

/** The cells of each line of a table. */
const cellsOf = (text: string): string[][] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ {2,}/));

test('every command has a help with an example', () => {
  const visit = (command: ReturnType<typeof makeProgram>, path: string): void => {
    if (command.commands.length > 0 && path !== 'rollcall') assert.ok(command.description() !== '', path);
    for (const one of command.commands) visit(one, `${path} ${one.name()}`);
    if (command.commands.length > 0) return;
    assert.ok(command.description().endsWith('.'), `${path} has a description`);
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) });
    if (['rollcall serve', 'rollcall store new-epoch', 'rollcall version'].includes(path)) return;
    command.outputHelp();
    assert.match(help, /Examples:\n {2}\S*\s*.*rollcall /, path);
  };
  visit(makeProgram(), 'rollcall');
});

test('register beats until it is ended, then drains and says goodbye; watch shows it come and go', async (t) => {
  const { cli } = await stage(t);
  const watch = cli.start(['watch', 'pay']);
  await eventually(() => watch.printed.stdout.includes('ADDRESS'));
  const args = ['register', 'pay', '--id', 'p1', '--address', '10.0.0.7', '--port', '8080', '--tag', 'a', '--ttl', '2'];
  const register = cli.start([...args, '--metadata', 'team=core']);
  await eventually(() => watch.printed.stdout.includes('+ pay/p1  HEALTHY  10.0.0.7:8080'));
  const { instances } = JSON.parse(await cli.ok(['discover', 'pay', '-o', 'json'])) as {
    instances: { metadata: object }[];
  };
  assert.deepEqual(
    instances.map(({ metadata }) => metadata),
    [{ team: 'core' }],
  );
  await new Promise((resolve) => setTimeout(resolve, 4_000)); // two ttl: only heartbeats keep it
  assert.deepEqual(cellsOf(await cli.ok(['instances', 'pay']))[1]!.slice(0, 3), ['p1', '10.0.0.7:8080', 'HEALTHY']);
  register.process.kill('SIGINT');
  assert.equal((await register.ended).code, 0);
  await eventually(() => watch.printed.stdout.includes('- pay/p1  DEREGISTERED'));
  assert.match(watch.printed.stdout, /~ pay\/p1 {2}HEALTHY -> DRAINING/);
  watch.process.kill('SIGTERM');
  assert.equal((await watch.ended).code, 0);
});

test('register ends with a text when somebody deregisters the instance', async (t) => {
  const { cli } = await stage(t);
  const register = cli.start(['register', 'pay', '--id', 'p1', '--address', '10.0.0.7', '--ttl', '2']);
  await eventually(() => register.printed.stdout.includes('is registered'));
  await cli.ok(['deregister', 'pay/p1', '--comment', 'wrong address']);
  const { code, stderr } = await register.ended;
  assert.equal(code, 6);
  assert.match(stderr, /the registration is over: .*\(DEREGISTERED\)/);
});

test('register and watch go on when the server is killed and comes back', async (t) => {
  const folder = temporaryFolder();
  const server = await startServer(t, folder);
  const port = server.address.split(':')[1]!;
  const cli = new CommandLine(t, server.address);
  const watch = cli.start(['watch', 'pay']);
  const register = cli.start(['register', 'pay', '--id', 'p1', '--address', '10.0.0.7', '--ttl', '3']);
  await eventually(() => watch.printed.stdout.includes('p1'));
  await server.kill();
  await eventually(() => watch.printed.stderr.includes('the watch is interrupted'));
  await startServer(t, folder, [], '--grpc-port', port, '--http-port', '0');
  await cli.ok(['register', 'pay', '--id', 'p2', '--static', '--address', '10.0.0.8']);
  await eventually(() => watch.printed.stdout.includes('+ pay/p2'), 20_000);
  assert.match(watch.printed.stderr, /the watch goes on/);
  assert.ok(!watch.printed.stdout.includes('- pay/p1'), watch.printed.stdout);
  register.process.kill('SIGTERM');
  assert.equal((await register.ended).code, 0);
});

test('a config is put, read, compared, rolled back, edited and deleted', async (t) => {
  const { cli } = await stage(t);
  await cli.ok(['config', 'put', 'app.yaml', '--comment', 'first', '--label', 'env=prod'], { input: 'a: 1\n' });
  await cli.ok(['config', 'put', 'app.yaml', '--expected-version', '1'], { input: 'a: 2\n' });
  assert.equal((await cli.run(['config', 'put', 'app.yaml', '--expected-version', '1'], { input: 'a: 3\n' })).code, 6);
  assert.equal(await cli.ok(['config', 'get', 'app.yaml']), 'a: 2\n');
  assert.equal(await cli.ok(['config', 'get', 'app.yaml', '--revision', '1']), 'a: 1\n');
  assert.match(await cli.ok(['config', 'get', 'app.yaml', '--revision', '1', '--details']), /labels: +env=prod\n/);
  const compared = await cli.run(['config', 'diff', 'app.yaml', '1']);
  assert.deepEqual([compared.code, compared.stderr], [8, '']);
  assert.match(compared.stdout, /^-a: 1\n\+a: 2$/m);
  assert.equal((await cli.run(['config', 'diff', 'app.yaml', '2'])).code, 0);
  await cli.ok(['config', 'rollback', 'app.yaml', '1', '--comment', 'v2 breaks login']);
  assert.equal(await cli.ok(['config', 'get', 'app.yaml']), 'a: 1\n');
  const versions = cellsOf(await cli.ok(['config', 'versions', 'app.yaml'])).map(([version, , , , , comment]) => [
    version,
    comment,
  ]);
  assert.deepEqual(versions, [
    ['VERSION', 'COMMENT'],
    ['3', 'v2 breaks login'],
    ['2', '-'],
    ['1', 'first'],
  ]);
  await cli.ok(['config', 'edit', 'app.yaml'], { env: { EDITOR: 'sed -i s/1/7/' } });
  assert.equal(await cli.ok(['config', 'get', 'app.yaml']), 'a: 7\n');
  assert.match(await cli.ok(['config', 'edit', 'app.yaml'], { env: { EDITOR: 'true' } }), /nothing has changed/);
  const refused = await cli.run(['config', 'edit', 'app.yaml'], { env: { EDITOR: 'sed -i s/7/[/' } });
  assert.equal(refused.code, 2);
  const [, kept] = /your text is in (\S+)/.exec(refused.stderr)!;
  assert.equal(readFileSync(kept!, 'utf8'), 'a: [\n');
  await cli.ok(['config', 'edit', 'new.txt'], { env: { EDITOR: 'printf hello >' } });
  assert.equal(await cli.ok(['config', 'get', 'new.txt']), 'hello');
  await cli.ok(['config', 'delete', 'app.yaml']);
  assert.equal((await cli.run(['config', 'get', 'app.yaml'])).code, 4);
});

test('a text that was edited and not published is kept, whatever was the reason', async (t) => {
  const { cli, server } = await stage(t);
  await cli.ok(['config', 'put', 'app.txt'], { input: 'one' });
  const keptBy = async (editor: string, code: number): Promise<void> => {
    const outcome = await cli.run(['config', 'edit', 'app.txt'], { env: { EDITOR: editor } });
    assert.equal(outcome.code, code, outcome.stderr);
    const [, kept] = /your text is in (\S+)/.exec(outcome.stderr)!;
    assert.equal(readFileSync(kept!, 'utf8'), 'two');
  };
  const inBetween = `"${process.execPath}" "${MAIN}" config put app.txt --server ${server.address}`;
  await keptBy(`f() { printf two > "$1"; echo other | ${inBetween} >&2; }; f`, 6);
  await keptBy('f() { printf two > "$1"; return 3; }; f', 1);
});

test('a config of the largest size passes through a pipe, and more is refused', async (t) => {
  const { cli, server } = await stage(t);
  const content = 'x'.repeat(500_000);
  await cli.ok(['config', 'put', 'big.txt'], { input: content });
  const slow = ['-c', `"${process.execPath}" "${MAIN}" config get big.txt | (sleep 1; wc -c)`];
  const env = { ...process.env, ROLLCALL_CLI_SERVER: server.address };
  assert.equal(execFileSync('sh', slow, { env }).toString().trim(), '500000');
  const endless = await cli.run(['config', 'put', 'endless.txt', '/dev/zero']);
  assert.deepEqual([endless.code, /more than 524288 bytes/.test(endless.stderr)], [2, true]);
  const full = execFileSync(
    'sh',
    ['-c', `"${process.execPath}" "${MAIN}" config get big.txt > /dev/full 2>/dev/null; echo $?`],
    { env },
  );
  assert.equal(full.toString().trim(), '1');
});

test('register can be ended while no server answers', async (t) => {
  const cli = new CommandLine(t, '127.0.0.1:1');
  const register = cli.start(['register', 'pay', '--address', '10.0.0.7']);
  await eventually(() => register.printed.stderr.includes('a call failed and is repeated'));
  register.process.kill('SIGINT');
  assert.equal((await register.ended).code, 0);
});

test('config watch prints each change', async (t) => {
  const { cli } = await stage(t);
  const watch = cli.start(['config', 'watch', 'app.yaml']);
  const lines = cli.start(['config', 'watch', '-o', 'json']);
  await eventually(() => lines.printed.stdout.includes('WATCH_KIND_SNAPSHOT'));
  await cli.ok(['config', 'put', 'app.yaml', '--comment', 'for the launch'], { input: 'a: 1\n' });
  await eventually(() => /\+ default\/app\.yaml {2}version 1 .*"for the launch"/.test(watch.printed.stdout));
  await cli.ok(['config', 'put', 'app.yaml'], { input: 'a: 2\n' });
  await eventually(() => watch.printed.stdout.includes('~ default/app.yaml  version 2'));
  await cli.ok(['config', 'delete', 'app.yaml']);
  await eventually(() => watch.printed.stdout.includes('- default/app.yaml  deleted'));
  assert.match(lines.printed.stdout, /"text": "a: 1\\n"/);
});

test('exit codes say why a command failed, and a near name is proposed', async (t) => {
  const { cli } = await stage(t);
  const cases: [args: string[], code: number, text: RegExp][] = [
    [['services', '--server', '127.0.0.1:1'], 3, /no server answers at 127\.0\.0\.1:1 \(connect ECONNREFUSED/],
    [['config', 'get', 'none'], 4, /CONFIG_NOT_FOUND/],
    [['config', 'put', 'a.json'], 2, /does not parse as json/],
    [['discover', 'a b'], 2, /service/],
    [['servces'], 2, /Did you mean services\?/],
    [['services', '--sever', 'a:1'], 2, /Did you mean --server\?/],
    [['services', '--server', 'nowhere'], 2, /must be HOST:PORT/],
    [['services', '--context', 'prod'], 2, /there is no context "prod"/],
    [['services', '--ca', '/nowhere/ca.crt'], 2, /--ca: \/nowhere\/ca\.crt cannot be read \(ENOENT\)/],
    [['register', 'pay', '--address', '10.0.0.1', '--port', '70000'], 2, /whole number from 0 to 65535/],
    [['register', 'pay'], 2, /--address/],
    [['config', 'get', 'a.json', '--version', '1'], 2, /unknown option '--version'/],
    [['-s', 'localhost:1', 'services'], 2, /-s must stand behind the command, as in "rollcall services -s/],
    [['top', '-o', 'json'], 2, /--output: "top" has a table alone/],
    [['config', 'import', '/nonexistent'], 2, /\/nonexistent: the folder cannot be read \(ENOENT\)/],
    [['services', '--server', 'a:99999'], 2, /must be 1 to 65535/],
  ];
  for (const [args, code, text] of cases) {
    const outcome = await cli.run(args, { input: '{' });
    assert.equal(outcome.code, code, `${args.join(' ')}: ${outcome.stderr}`);
    assert.match(outcome.stderr, text);
    assert.match(outcome.stderr, /^rollcall: /);
    assert.doesNotMatch(outcome.stderr, /^ {4}at /m, 'no stack');
  }
});

test('a context names the server, TLS and token, holds no secret, and is read by its user alone', async (t) => {
  const ca = await authority('cli');
  const pair = await ca.issue('server');
  const reader = callerWith('reader', '{ role: reader, namespaces: ["*"] }');
  const tls = ['--tls-cert', pair.certFile, '--tls-key', pair.keyFile];
  const server = await startWithAccess(t, accessFile([reader]), ...tls);
  const cli = new CommandLine(t, '');
  const tokenFile = join(temporaryFolder(), 'token');
  writeFileSync(tokenFile, `${reader.token}\n`, { mode: 0o600 });
  await cli.ok(['context', 'set', 'prod', '--server', server.address, '--ca', ca.certFile, '--token-file', tokenFile]);
  assert.equal(statSync(cli.contextsFile).mode & 0o777, 0o600);
  assert.ok(!readFileSync(cli.contextsFile, 'utf8').includes(reader.token));
  assert.match(await cli.ok(['whoami']), /^token:reader\n/);
  assert.match(await cli.ok(['status']), /^store: +reachable$/m, 'the part that a reader may see');
  assert.deepEqual(cellsOf(await cli.ok(['context', 'list']))[1]!.slice(0, 2), ['* prod', server.address]);
  const denied = await cli.run(['config', 'put', 'a.txt'], { input: 'x' });
  assert.deepEqual([denied.code, /NOT_ALLOWED/.test(denied.stderr)], [5, true]);
  assert.match(await cli.ok(['whoami', '--token-command', `cat ${tokenFile}`]), /^token:reader\n/);
  assert.equal((await cli.run(['whoami', '--token-command', 'echo wrong'])).code, 5);
  await cli.ok(['context', 'set', 'local', '--server', '127.0.0.1:1']);
  assert.equal((await cli.run(['services'])).code, 3);
  await cli.ok(['context', 'use', 'prod']);
  await cli.ok(['services']);
  await cli.ok(['context', 'delete', 'prod']);
  assert.doesNotMatch(await cli.ok(['context', 'list']), /prod/);
});

test('status, namespaces, services and audit show what there is, as a table, JSON and YAML', async (t) => {
  const { cli } = await stage(t);
  await cli.ok(['register', 'db', '--static', '--id', 'db1', '--address', '10.0.0.9', '--port', '5432', '-n', 'shop']);
  assert.match(await cli.ok(['status']), /^store: +embedded, reachable, writable, revision \d+$/m);
  assert.deepEqual(cellsOf(await cli.ok(['namespaces']))[1], ['shop', '1', '1', '0']);
  assert.deepEqual(cellsOf(await cli.ok(['services', '-n', 'shop']))[1], ['db', '1', '0', '0', '0', '-']);
  const json = JSON.parse(await cli.ok(['services', '-n', 'shop', '-o', 'json'])) as { services: object[] };
  assert.equal(json.services.length, 1);
  assert.match(await cli.ok(['services', '-n', 'shop', '-o', 'yaml']), /^services:\n {2}- service: db\n/);
  await cli.ok(['deregister', 'db/db1', '-n', 'shop', '--comment', 'moved']);
  assert.match(await cli.ok(['audit']), /Deregister +shop\/db\/db1 +OK +moved/);
});

test('top shows the services and their changes on a terminal, and one picture in a pipe', async (t) => {
  const { cli, server } = await stage(t);
  await cli.ok(['register', 'db', '--static', '--id', 'db1', '--address', '10.0.0.9']);
  assert.match(await cli.ok(['top']), /^db +1 +0 +0 +0 +0$/m);
  // "script" of util-linux gives the command a terminal.
  const screen = spawn(
    'script',
    ['-qfec', `"${process.execPath}" "${MAIN}" top --server ${server.address}`, '/dev/null'],
    {
      stdio: ['pipe', 'pipe', 'ignore'],
    },
  );
  t.after(() => screen.kill('SIGKILL'));
  let text = '';
  screen.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  await eventually(() => text.includes('no alarms'));
  await cli.ok(['register', 'db', '--static', '--id', 'db2', '--address', '10.0.0.10']);
  await eventually(() => text.includes('+ db/db2  HEALTHY'));
  screen.stdin.write('\x03');
  await eventually(() => text.endsWith('\x1b[?25h\x1b[?1049l'));
});

test('the exported protos compile by themselves', async (t) => {
  const { cli } = await stage(t);
  const folder = join(temporaryFolder(), 'protos');
  const paths = (await cli.ok(['proto', 'export', folder])).trim().split('\n');
  assert.ok(paths.some((path) => path.endsWith('rollcall/v1/registry_service.proto')));
  assert.ok(paths.some((path) => path.endsWith('google/rpc/error_details.proto')));
  const buf = new URL('../../node_modules/.bin/buf', import.meta.url).pathname;
  writeFileSync(join(folder, 'buf.yaml'), 'version: v2\n');
  execFileSync(buf, ['build', folder]);
});

test('bash completes commands and flags', async (t) => {
  const { cli } = await stage(t);
  const script = join(temporaryFolder(), 'completion.bash');
  writeFileSync(script, await cli.ok(['completion', 'bash']));
  const complete = (...words: string[]): string[] =>
    execFileSync('bash', [
      '-c',
      `source ${script}; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _rollcall; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ])
      .toString()
      .trim()
      .split('\n');
  assert.deepEqual(complete('rollcall', 'conf'), ['config']);
  assert.deepEqual(complete('rollcall', 'config', 'ro'), ['rollback']);
  assert.deepEqual(complete('rollcall', 'config', 'put', 'app.yaml', '--comm'), ['--comment']);
  assert.deepEqual(complete('rollcall', 'services', '--ser'), ['--server', '--server-name']);
});

test('status says what a server that has just started after a crash does not do yet', async (t) => {
  const folder = temporaryFolder();
  const crashed = await startServer(t, folder);
  await register(crashed, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1', port: 80 } });
  await crashed.kill();
  const cli = new CommandLine(t, (await startServer(t, folder)).address);
  assert.match(await cli.ok(['status']), /^verdicts: postponed: GRACE \(since .*, ends in \d+ s\)$/m);
});
