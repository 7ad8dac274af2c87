// Rollcall to look at: `npm run demo`, `npm run demo:cluster`, and either with `-- --tls`. Everything that it starts and
// writes is gone when it ends.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Client, type ConnectionOptions } from '../src/client/index.js';
import { etcdPrograms, type Program, rollcall, serverProgram } from './programs.js';
import { runServices } from './services.js';

/** Servers of the cluster, and members of its etcd. */
const CLUSTER = 3;
/** The exit code after a second signal. */
const EXIT_SIGNAL = 130;
/** The commands of the kill switch. */
const SWITCH = `kill NAME   ends a program at once, as a crash does
stop NAME   ends it in order
start NAME  starts it again
list        shows what runs
quit        ends the demo`;

const { values } = parseArgs({
  options: {
    cluster: { type: 'boolean', default: false },
    tls: { type: 'boolean', default: false },
    'grpc-port': { type: 'string', default: '7400' },
    seconds: { type: 'string' },
  },
});

/** How the servers are protected, and how they are reached then. */
interface Guards {
  readonly args: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  readonly connection: Pick<ConnectionOptions, 'tls' | 'token'>;
}

/** Certificates, and tokens for the services and for the person who looks on. */
function makeGuards(folder: string): Guards {
  const certs = join(folder, 'certs');
  rollcall('certs', 'demo', certs);
  const names = ['services', 'operator'];
  const tokens = names.map((name) => rollcall('token', 'new', name));
  const [services, operator] = tokens.map((text) => /rc_[\w-]{43}/.exec(text)![0]);
  const [ofServices, ofOperator] = tokens.map((text) => /sha256:[\w-]{43}/.exec(text)![0]);
  const access = join(folder, 'access.yaml');
  const token = join(folder, 'operator.token');
  const everywhere = 'namespaces: ["*"]';
  const text = `tokens:
  - { name: services, hash: "${ofServices}", grants: [{ role: service, ${everywhere}, services: ["*"] }, { role: publisher, ${everywhere} }] }
  - { name: operator, hash: "${ofOperator}", grants: [{ role: admin, ${everywhere} }] }
`;
  writeFileSync(access, text, { mode: 0o600 });
  writeFileSync(token, `${operator}\n`, { mode: 0o600 });
  const ca = join(certs, 'ca.crt');
  return {
    args: [
      ...['--tls-cert', join(certs, 'server.crt'), '--tls-key', join(certs, 'server.key')],
      ...(values.cluster ? ['--peer-ca', ca] : []),
      ...['--access', access],
    ],
    variables: { ROLLCALL_CLI_CA: ca, ROLLCALL_CLI_TOKEN_FILE: token },
    connection: { tls: { ca: readFileSync(ca) }, token: () => services! },
  };
}

const say = (text: string): void => console.log(`${new Date().toISOString().slice(11, 19)}  ${text}`);

const folder = mkdtempSync(join(tmpdir(), 'rollcall-demo-'));
const programs: Program[] = [];
const stop = new AbortController();
/** Ends the demo in order; the second time at once. */
const stopOnce = (): void => {
  if (stop.signal.aborted) {
    for (const program of programs) void program.end('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
    process.exit(EXIT_SIGNAL);
  }
  stop.abort();
  say('ending; once again ends it at once');
};
process.on('SIGINT', stopOnce).on('SIGTERM', stopOnce).on('SIGHUP', stopOnce);
if (values.seconds !== undefined) setTimeout(stopOnce, Number(values.seconds) * 1_000);

/** Starts the servers, and etcd below them in a cluster. Returns the addresses. */
async function startServers(guards: Guards): Promise<string[]> {
  const port = Number(values['grpc-port']);
  if (!values.cluster) {
    const args = ['--data-dir', join(folder, 'data'), '--grpc-port', String(port), ...guards.args];
    programs.push(serverProgram('server', args));
    await programs[0]!.start();
    return [`localhost:${port}`];
  }
  const { programs: members, endpoints } = await etcdPrograms(folder, CLUSTER);
  programs.push(...members);
  await Promise.all(members.map((member) => member.start()));
  const ports = Array.from({ length: CLUSTER }, (_, at) => port + 2 * at); // HTTP has the port between
  for (const [at, each] of ports.entries()) {
    const args = [
      '--store',
      'etcd',
      '--etcd-endpoints',
      endpoints,
      '--node',
      `server${at + 1}`,
      '--advertise',
      `localhost:${each}`,
    ];
    const server = serverProgram(`server${at + 1}`, [...args, '--grpc-port', String(each), ...guards.args]);
    programs.push(server);
    await server.start();
  }
  return ports.map((each) => `localhost:${each}`);
}

/** Obeys the kill switch, a command a line. */
async function obey(line: string): Promise<void> {
  const [command = '', name = ''] = line.trim().split(/\s+/);
  const program = programs.find((each) => each.name === name);
  if (command === '') return;
  if (command === 'quit') return stopOnce();
  if (command === 'list')
    return say(programs.map((each) => `${each.name} ${each.isRunning ? 'runs' : 'is down'}`).join(', '));
  if (!['kill', 'stop', 'start'].includes(command)) return console.log(SWITCH);
  if (!program) return say(`no program is named ${JSON.stringify(name)}; "list" names them all`);
  if (command === 'start') {
    if (!program.isRunning) {
      const mayWait = name.startsWith('server')
        ? '; one that crashed soon after its start waits a minute before it joins'
        : '';
      say(`${name} starts${mayWait}`);
      await program.start();
    }
    return say(`${name} runs`);
  }
  await program.end(command === 'kill' ? 'SIGKILL' : 'SIGTERM');
  say(`${name} is down`);
  if (command === 'kill' && name.startsWith('server'))
    say('the others keep its place for 10 s, and then declare no instance silent for 30 s more: they cannot ask it');
}

function introduce(addresses: readonly string[], { variables }: Guards): void {
  const port = Number(addresses[0]!.split(':')[1]);
  const all = { ROLLCALL_CLI_SERVER: addresses.join(','), ...variables };
  const http = values.tls
    ? `curl --cacert ${variables['ROLLCALL_CLI_CA']} -H "authorization: Bearer $(cat ${variables['ROLLCALL_CLI_TOKEN_FILE']})" https`
    : 'curl http';
  console.log(`
In another terminal, in this folder:

${Object.entries(all)
  .map(([name, value]) => `  export ${name}=${value}`)
  .join('\n')}

  npx rollcall top                        the services, and each change
  npx rollcall watch web pay users        the changes of instances, a line each
  npx rollcall config watch limits.yaml   the versions of a config
  npx rollcall status                     the state of a server${values.cluster ? ' and of its cluster' : ''}
  npx rollcall config rollback limits.yaml 1
  ${http}://localhost:${port + 1}/v1/services/web
${values.cluster ? `\nType into this terminal:\n\n${SWITCH.replace(/^/gm, '  ')}\n\nwhere NAME is ${programs.map(({ name }) => name).join(', ')}.\n` : '\nCtrl-C ends it.\n'}`);
}

try {
  say('starting');
  const guards: Guards = values.tls ? makeGuards(folder) : { args: [], variables: {}, connection: {} };
  const addresses = await startServers(guards);
  introduce(addresses, guards);
  if (values.cluster) {
    const input = createInterface({ input: process.stdin });
    input.on('line', (line) => void obey(line).catch((error: unknown) => say((error as Error).message)));
    stop.signal.addEventListener('abort', () => input.close(), { once: true });
  }
  const client = new Client({ addresses, ...guards.connection });
  try {
    await runServices(client, say, stop.signal);
  } finally {
    await client.close();
  }
} catch (error) {
  process.exitCode = 1;
  console.error((error as Error).message);
} finally {
  for (const program of programs.reverse()) await program.end('SIGTERM');
  rmSync(folder, { recursive: true, force: true });
  process.exit();
}
