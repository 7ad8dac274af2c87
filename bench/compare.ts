// Compares the server CPU per call of two builds: `npm run bench -- compare OTHER`. See README.md.
import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type AnswerCheck, BenchClient, type Call, type Caller, framed, type Reach } from './client.js';
import { guards, NO_GUARDS } from './guards.js';
import { HttpBenchClient } from './http-client.js';
import { beats, discover, discoveredInstances, register, registers, rejectedItems } from './requests.js';
import { BenchServer, endServers, mainOf, THIS_CHECKOUT, withFolder } from './server.js';
import { lowerQuartile } from './statistics.js';

/** Rounds per server. The lower quartile of 20 repeats within 4 to 5 % on a shared machine that is not overloaded. */
const ROUNDS = 20;
/** Calls per round that only read memory: about 1.5 s of CPU, 150 times the resolution of the CPU time. */
const READ_CALLS = 20_000;
/** Calls per round that write. A write costs three times as much and waits for a flush: 20,000 would take too long. */
const WRITE_CALLS = 4_000;
/** Calls in flight: enough to keep the server busy, and the same as in the other benchmarks. */
const IN_FLIGHT = 200;
/** Instances in the Heartbeat scenario: the same number as in the heartbeat benchmark of bench/run.ts. */
const BEATING_INSTANCES = 10_000;
/** Instances in the answer of the Discover scenario: a common size of a service. */
const DISCOVERED_INSTANCES = 10;
/** Differences below this, in percent, are noise: two servers of one build differ by as much. */
const NOISE_PERCENT = 5;
/** CPU seconds per round below which the 10 ms resolution of the CPU time is more than 2 % of a round. */
const SHORT_ROUND_SECONDS = 0.5;
/** How long a round may take, in ms. A normal round takes 1 to 10 s; a server that hangs must not hang the run. */
const ROUND_MAX_MS = 300_000;

const USAGE = `npm run bench -- compare OTHER [SCENARIO...] [--rounds N] [--calls N] [--store etcd] [--json FILE]

  OTHER         a folder with another build of the program: it contains dist/main.js
  SCENARIO      heartbeat, discover, discover-http, discover-json, register or register-etcd; default: all but the last
  --rounds N    rounds per server; default: ${ROUNDS}
  --calls N     at most N calls per round; default: ${READ_CALLS}, and ${WRITE_CALLS} for Register
  --store etcd  adds register-etcd
  --access      this build runs with access control, quotas and an audit file, and each call to it shows a token
  --tls         this build runs with TLS
  --json FILE   writes the figures, with those of each round`;

/** The exit codes of the benchmark. */
const Exit = { FAILED: 1, USAGE: 2, SIGNAL: 130 } as const;

/** The servers of the compared builds: this build, the other build, and the other build again as a control. */
const COMPARED = ['this', 'other', 'control'] as const;
type Compared = (typeof COMPARED)[number];
/** "empty" is the reference: a grpc-js server with an empty handler. */
type ServerName = Compared | 'empty';

/** One kind of call, measured on every server. */
interface Scenario {
  readonly title: string;
  /** Calls per round, unless --calls lowers it. */
  readonly calls: number;
  readonly onEtcd?: true;
  /** This build is called over HTTP/1.1 in this format; the others, as always, over gRPC. */
  readonly overHttp?: 'proto' | 'json';
  /** The calls that fill a new server. */
  setUp(count: number): Iterable<Call>;
  /** The calls before each round, which are not measured. */
  readonly beforeRound?: readonly Call[];
  /** The calls of a round. Round 0 is the warm-up. */
  round(round: number, count: number): readonly Call[];
  readonly check?: AnswerCheck;
}

const repeated = (count: number, call: Call): Call[] => Array.from({ length: count }, () => call);

const TEN = { service: 'ten' };

/** A Register with changed metadata of an instance that exists. The store keeps its size, so rounds are alike. */
const changedRegisters = {
  calls: WRITE_CALLS,
  setUp: (count: number) => registers(0, count, { commit: 'setup' }),
  round: (round: number, count: number) => [...registers(0, count, { commit: `round-${round}` })],
};

const discoverTen = {
  calls: READ_CALLS,
  setUp: () => Array.from({ length: DISCOVERED_INSTANCES }, (_, i) => register(i, TEN)),
  // On a slow machine all rounds together take longer than the TTL of the instances.
  beforeRound: [beats(0, DISCOVERED_INSTANCES, TEN)],
  round: (_, count) => repeated(count, discover(TEN.service)),
  check: (answer) => {
    const found = discoveredInstances(answer);
    return found === DISCOVERED_INSTANCES ? undefined : `${found} instances instead of ${DISCOVERED_INSTANCES}`;
  },
} satisfies Partial<Scenario>;

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  heartbeat: {
    title: 'Heartbeat, 1 item',
    calls: READ_CALLS,
    setUp: (count) => registers(0, Math.min(count, BEATING_INSTANCES)),
    round: (_, count) => {
      const each = Array.from({ length: Math.min(count, BEATING_INSTANCES) }, (_, i) => beats(i, 1));
      return Array.from({ length: count }, (_, i) => each[i % each.length]!);
    },
    check: (answer) => (rejectedItems(answer) > 0 ? 'the server rejected the heartbeat' : undefined),
  },
  discover: { title: `Discover, ${DISCOVERED_INSTANCES} instances`, ...discoverTen },
  'discover-http': { title: 'Discover over HTTP, proto', ...discoverTen, overHttp: 'proto' },
  'discover-json': {
    title: 'Discover over HTTP, JSON',
    ...discoverTen,
    overHttp: 'json',
  },
  register: { title: 'Register, changed metadata', ...changedRegisters },
  'register-etcd': { title: 'Register, changed, on etcd', ...changedRegisters, onEtcd: true },
};

/** The call of the empty handler: a message without fields. */
const EMPTY_CALL: Call = { path: '/rollcall.bench.EmptyService/Call', body: framed(Buffer.alloc(0)) };
const EMPTY_TITLE = 'empty grpc-js handler';

/** A command line that cannot be used. */
class BadUsage extends Error {}

interface Options {
  readonly other: string;
  readonly scenarios: readonly string[];
  readonly rounds: number;
  readonly maxCalls: number;
  readonly json: string | undefined;
  readonly access: boolean;
  readonly tls: boolean;
}

function readOptions(args: readonly string[]): Options {
  const { values, positionals } = parse(args);
  const [other, ...chosen] = positionals;
  if (other === undefined) throw new BadUsage('OTHER is missing');
  for (const name of chosen) if (!SCENARIOS[name]) throw new BadUsage(`no scenario is called ${JSON.stringify(name)}`);
  for (const checkout of [THIS_CHECKOUT, other])
    if (!existsSync(mainOf(checkout)))
      throw new BadUsage(`${mainOf(resolve(checkout))} does not exist; build that checkout with: npm run build`);
  if (values.store !== undefined && values.store !== 'etcd') throw new BadUsage('--store can only be etcd');
  const scenarios = new Set(
    chosen.length > 0 ? chosen : Object.keys(SCENARIOS).filter((name) => !SCENARIOS[name]!.onEtcd),
  );
  if (values.store === 'etcd') scenarios.add('register-etcd');
  return {
    other: realpathSync(other),
    scenarios: [...scenarios],
    rounds: values.rounds === undefined ? ROUNDS : positive('--rounds', values.rounds),
    maxCalls: values.calls === undefined ? Infinity : positive('--calls', values.calls),
    json: values.json,
    access: values.access === true,
    tls: values.tls === true,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        rounds: { type: 'string' },
        calls: { type: 'string' },
        store: { type: 'string' },
        json: { type: 'string' },
        access: { type: 'boolean' },
        tls: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new BadUsage((error as Error).message);
  }
}

function positive(flag: string, value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value))
    throw new BadUsage(`${flag} must be a number from 1 on, not ${JSON.stringify(value)}`);
  return Number(value);
}

/** A server that takes part in a scenario, with its figures. */
interface Entrant {
  readonly name: ServerName;
  readonly server: BenchServer;
  readonly reach: Reach;
  /** Microseconds of server CPU per call, for each measured round. */
  readonly micros: number[];
}

/** The figures of one server in one scenario, in microseconds of server CPU per call. */
interface Figures {
  readonly lowerQuartile: number;
  readonly rounds: readonly number[];
}

/** The outcome of one scenario. */
interface Result {
  readonly scenario: string;
  readonly title: string;
  readonly callsPerRound: number;
  readonly microsPerCall: Readonly<Record<Compared, Figures>>;
  readonly thisToOther: number;
  readonly controlToOther: number;
}

/** Opens a client for `use`. Adds the name of the server to an error. */
async function withClient<T>(
  { name, server, reach }: Entrant,
  use: (client: Caller) => Promise<T>,
  format?: 'proto' | 'json',
): Promise<T> {
  const client = format
    ? new HttpBenchClient(server.httpPort!, format)
    : new BenchClient(server.address, undefined, reach);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${ROUND_MAX_MS / 1_000} s`)), ROUND_MAX_MS);
  });
  try {
    return await Promise.race([use(client), late]);
  } catch (error) {
    const ended = server.end === undefined ? '' : ` (the server ended with ${server.end})`;
    throw new Error(`a call to the server "${name}" failed${ended}: ${(error as Error).message}`, { cause: error });
  } finally {
    clearTimeout(timer);
    client.close();
  }
}

/**
 * Makes the calls of one round; returns the microseconds of server CPU per call. Each round opens its own connections,
 * because the server ends a connection after 30 min.
 */
function measureRound(entrant: Entrant, scenario: Scenario, calls: readonly Call[]): Promise<number> {
  const isEmpty = entrant.name === 'empty';
  const format = entrant.name === 'this' ? scenario.overHttp : undefined;
  return withClient(
    entrant,
    async (client) => {
      await client.connected();
      if (!isEmpty) for (const call of scenario.beforeRound ?? []) await prepare(entrant, call);
      const before = entrant.server.cpuSeconds();
      await client.run(calls.values(), IN_FLIGHT, isEmpty || format === 'json' ? undefined : scenario.check);
      return ((entrant.server.cpuSeconds() - before) / calls.length) * 1e6;
    },
    format,
  );
}

/** Makes a call that is not measured, over gRPC. */
const prepare = (entrant: Entrant, call: Call): Promise<Buffer> => withClient(entrant, (client) => client.call(call));

/** Returns the list with its first `by` elements moved to its end. */
function rotated<T>(list: readonly T[], by: number): T[] {
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

/** Runs the warm-up and all rounds of a scenario. Fills the figures of the entrants. */
async function runRounds(
  entrants: readonly Entrant[],
  scenario: Scenario,
  count: number,
  rounds: number,
): Promise<void> {
  const emptyCalls = repeated(count, EMPTY_CALL);
  for (let round = 0; round <= rounds; round++) {
    const calls = scenario.round(round, count);
    for (const entrant of rotated(entrants, round)) {
      const micros = await measureRound(entrant, scenario, entrant.name === 'empty' ? emptyCalls : calls);
      if (round > 0) entrant.micros.push(micros);
    }
    if (round === 0) continue;
    const figures = entrants.map(({ name, micros }) => `${name} ${micros.at(-1)!.toFixed(1)}`);
    console.log(`${scenario.title}: round ${round} of ${rounds}, us of CPU per call: ${figures.join(', ')}`);
  }
}

/** Starts the servers of a scenario, measures them, ends them. */
async function runScenario(
  scenario: Scenario,
  options: Options,
  withEmpty: boolean,
  storeOf: (name: Compared, folder: string) => string[],
): Promise<readonly Entrant[]> {
  const { other, rounds, maxCalls } = options;
  const count = Math.min(scenario.calls, maxCalls);
  const entrants: Entrant[] = [];
  return withFolder(async (folder) => {
    try {
      for (const name of COMPARED) {
        const checkout = name === 'this' ? THIS_CHECKOUT : other;
        const { args, reach } = name === 'this' ? guards(folder, options) : NO_GUARDS;
        const server = await BenchServer.startOf(checkout, ...storeOf(name, folder), ...args);
        entrants.push({ name, server, reach, micros: [] });
      }
      for (const entrant of entrants)
        await withClient(entrant, (client) => client.run(scenario.setUp(count)[Symbol.iterator](), IN_FLIGHT));
      if (withEmpty) entrants.push({ name: 'empty', server: await BenchServer.startEmpty(), reach: {}, micros: [] });
      await runRounds(entrants, scenario, count, rounds);
      return entrants;
    } finally {
      await Promise.all(entrants.map(({ server }) => server.stop()));
    }
  });
}

/** As `runScenario`, on an etcd of its own: each server has a prefix of its own and is the only member there. */
async function runOnEtcd(scenario: Scenario, options: Options, withEmpty: boolean): Promise<readonly Entrant[]> {
  const { openEtcd } = await import('../test/support/etcd.js');
  const cluster = await openEtcd({ durable: true });
  try {
    const endpoints = cluster.endpoints.join(',');
    return await runScenario(scenario, options, withEmpty, (name) => [
      ...['--store', 'etcd', '--etcd-endpoints', endpoints, '--etcd-prefix', `bench/${name}/`],
    ]);
  } finally {
    await cluster.close();
  }
}

function figuresOf(entrants: readonly Entrant[], name: ServerName): Figures {
  const { micros } = entrants.find((entrant) => entrant.name === name)!;
  return { lowerQuartile: lowerQuartile(micros), rounds: micros };
}

function resultOf(scenario: string, callsPerRound: number, entrants: readonly Entrant[]): Result {
  const microsPerCall = {
    this: figuresOf(entrants, 'this'),
    other: figuresOf(entrants, 'other'),
    control: figuresOf(entrants, 'control'),
  };
  const old = microsPerCall.other.lowerQuartile;
  return {
    scenario,
    title: SCENARIOS[scenario]!.title,
    callsPerRound,
    microsPerCall,
    thisToOther: microsPerCall.this.lowerQuartile / old,
    controlToOther: microsPerCall.control.lowerQuartile / old,
  };
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
const isNoise = (ratio: number): boolean => Math.abs(ratio - 1) * 100 < NOISE_PERCENT;

/** Describes a result in words. A difference counts only if it shows against both servers of the other build. */
function verdict({ microsPerCall, thisToOther, controlToOther }: Result, rounds: number): string {
  if (rounds < ROUNDS) return 'too few rounds';
  if (!isNoise(controlToOther)) return 'noisy: run again';
  const thisToControl = microsPerCall.this.lowerQuartile / microsPerCall.control.lowerQuartile;
  if (isNoise(thisToOther) || isNoise(thisToControl)) return 'no difference';
  return thisToOther > 1 ? 'this is slower' : 'this is faster';
}

/** Prints rows in columns. The first and the last column are words, the others are numbers. */
function printTable(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column === 0 || column === row.length - 1 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
    );
    console.log(cells.join('  ').trimEnd());
  }
}

function report(results: readonly Result[], empty: Figures, rounds: number): void {
  const micros = (figures: Figures): string => figures.lowerQuartile.toFixed(1);
  console.log(`\nMicroseconds of server CPU per call: the lower quartile of ${plural(rounds, 'round')}.\n`);
  printTable([
    ['scenario', 'calls/round', 'this', 'other', 'control', 'this/other', 'control/other', 'this/empty', 'verdict'],
    ...results.map((result) => [
      result.title,
      result.callsPerRound.toLocaleString('en'),
      ...COMPARED.map((name) => micros(result.microsPerCall[name])),
      result.thisToOther.toFixed(2),
      result.controlToOther.toFixed(2),
      (result.microsPerCall.this.lowerQuartile / empty.lowerQuartile).toFixed(2),
      verdict(result, rounds),
    ]),
    [EMPTY_TITLE, results[0]!.callsPerRound.toLocaleString('en'), micros(empty), '', '', '', '', '1.00', ''],
  ]);
  console.log(
    `\nDifferences under ${NOISE_PERCENT} % mean nothing. The control is a second server of the other build:`,
  );
  console.log(`if control/other is off by ${NOISE_PERCENT} % or more, the machine was too noisy for this run.`);
  console.log('A difference is real if a second run shows it again.');
  if (rounds < ROUNDS)
    console.log(`This was a quick look, not a measurement: ${plural(rounds, 'round')} instead of ${ROUNDS}.`);
  const short = results.filter(
    ({ microsPerCall, callsPerRound }) =>
      (microsPerCall.this.lowerQuartile * callsPerRound) / 1e6 < SHORT_ROUND_SECONDS,
  );
  if (short.length > 0)
    console.log(
      `CPU time is read in steps of 10 ms, which is coarse for a short round: ${short.map(({ title }) => title).join('; ')}.`,
    );
}

/** The commit of a checkout, with "-dirty" after uncommitted changes; `undefined` if git does not know it. */
function commitOf(checkout: string): string | undefined {
  try {
    return execFileSync('git', ['-C', checkout, 'describe', '--always', '--dirty', '--exclude=*'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

async function compare(options: Options): Promise<void> {
  const { other, scenarios, rounds, maxCalls, json } = options;
  const builds = {
    this: { folder: realpathSync(THIS_CHECKOUT), commit: commitOf(THIS_CHECKOUT) },
    other: { folder: other, commit: commitOf(other) },
  };
  for (const [name, { folder, commit }] of Object.entries(builds))
    console.log(`${`${name}:`.padEnd(7)}${folder} (${commit ?? 'no git checkout'})`);
  const results: Result[] = [];
  let empty: Figures | undefined;
  for (const name of scenarios) {
    const scenario = SCENARIOS[name]!;
    // One reference figure is enough: the empty handler takes its turns in the first scenario.
    const withEmpty = empty === undefined;
    console.log(`${scenario.title}: set-up and warm-up`);
    const entrants = scenario.onEtcd
      ? await runOnEtcd(scenario, options, withEmpty)
      : await runScenario(scenario, options, withEmpty, (server, folder) => ['--data-dir', join(folder, server)]);
    empty ??= figuresOf(entrants, 'empty');
    results.push(resultOf(name, Math.min(scenario.calls, maxCalls), entrants));
  }
  report(results, empty!, rounds);
  if (json !== undefined) {
    const figures = { builds, rounds, inFlight: IN_FLIGHT, scenarios: results, emptyHandlerMicrosPerCall: empty };
    writeFileSync(json, `${JSON.stringify(figures, undefined, 2)}\n`);
  }
}

let stoppedBy: NodeJS.Signals | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    stoppedBy = signal;
    endServers();
  });
try {
  await compare(readOptions(process.argv.slice(3)));
} catch (error) {
  const isUsage = error instanceof BadUsage;
  const text = stoppedBy ? `stopped by ${stoppedBy}` : (error as Error).message;
  console.error(`bench: ${text}${isUsage ? `\n\n${USAGE}` : ''}`);
  process.exitCode = stoppedBy ? Exit.SIGNAL : isUsage ? Exit.USAGE : Exit.FAILED;
}
