import { systemClock } from './base/clock.js';
import { bracketed } from './base/hosts.js';
import {
  isHandledElsewhere,
  moveStore,
  renewEpoch,
  restoreStore,
  type RunningServer,
  startServer,
  undoMoveInto,
} from './server.js';
import { changedSettings, listSettings } from './settings/listing.js';
import { BadSettings, type ReadSettings, readSettings, type Settings } from './settings/settings.js';
import { type ProcessTelemetry, processTelemetry } from './telemetry/telemetry.js';
import { VERSION } from './version.js';

/** Hosts that mean every address of the machine, and cannot be called. */
const ANY_ADDRESS = ['0.0.0.0', '::'];

/** The exit codes of a server: its start or its store failed; or a second signal ended it at once. */
const Exit = { OK: 0, FAILED: 1, SIGNAL: 130 } as const;

/** Gives the store a new epoch, without a server: the last step of a restore. */
export async function newEpochCommand(args: readonly string[]): Promise<void> {
  const { settings } = readSettings(args, process.env);
  const { epoch, nodes } = await renewEpoch(settings.store, processTelemetry('error', systemClock));
  if (nodes.length > 0)
    process.stderr.write(
      `rollcall: the store has members: ${nodes.join(', ')}. If these servers run, their watches begin again now.\n`,
    );
  process.stdout.write(`the store has the new epoch ${epoch}\n`);
}

/** Puts a backup into an empty data folder, without a server. */
export async function restoreCommand(file: string, args: readonly string[]): Promise<void> {
  const { settings } = readSettings(args, process.env);
  const { store } = settings;
  if (store.kind !== 'embedded')
    throw new BadSettings('the store is etcd, which restores its own snapshots: etcdutl snapshot restore');
  const { revision, epoch } = await restoreStore(file, store, processTelemetry('error', systemClock));
  process.stdout.write(
    `${store.dataDir} holds revision ${revision} of ${file} and has the new epoch ${epoch}. Start a server on it.\n`,
  );
}

/** The flags of `store move` that are no settings. */
const MOVE_FLAGS = ['--dry-run', '--undo'];

/** Moves a store into another one, without a server. */
export async function moveCommand(args: readonly string[]): Promise<void> {
  const at = args.indexOf('--to');
  const file = at < 0 ? undefined : args[at + 1];
  if (file === undefined || file.startsWith('-'))
    throw new BadSettings(
      '--to: names the settings file of the store into which the other one is moved; it is required',
    );
  const rest = args.filter((arg, i) => i !== at && i !== at + 1 && !MOVE_FLAGS.includes(arg));
  const { store: from } = readSettings(rest, process.env).settings;
  const { store: to } = readSettings(['--settings', file], {}).settings;
  const telemetry = processTelemetry('error', systemClock);
  if (args.includes('--undo')) {
    const keys = await undoMoveInto(to, telemetry);
    process.stdout.write(`the move is undone: ${keys} keys were deleted, and the target is empty\n`);
    return;
  }
  const isTerminal = process.stderr.isTTY;
  const onStep = (done: number, all: number): void =>
    void (isTerminal && (done % 1_000 === 0 || done === all) && process.stderr.write(`\r${done} of ${all} revisions`));
  const isDry = args.includes('--dry-run');
  const { counts, left, epoch } = await moveStore({ from, to, isDry, onStep }, telemetry);
  if (isTerminal) process.stderr.write('\n');
  const named = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  const end = isDry
    ? 'nothing was written'
    : `the target has the new epoch ${epoch}. Start the servers on it; the source is unchanged, and no server may use it any more`;
  process.stdout.write(
    `${isDry ? 'would move' : 'moved'} ${named.join(', ')}; ${left} keys of members and of the store itself stay behind\n${end}\n`,
  );
}

/** Prints every setting with its value and its source. */
export function printSettings(args: readonly string[]): void {
  const read = readSettings(args, process.env);
  for (const warning of read.warnings) process.stderr.write(`rollcall: ${warning}\n`);
  process.stdout.write(listSettings(read));
}

/** Serves until a signal or a fatal error ends it. Resolves to the exit code. */
export async function serve(args: readonly string[]): Promise<number> {
  const read = readSettings(args, process.env);
  const { settings, warnings } = read;
  // The reader of the output may be gone. Lines are then lost, and the server goes on.
  for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
  const telemetry = processTelemetry(settings.logLevel, systemClock);
  const { log } = telemetry;
  for (const warning of warnings) log.warn({}, warning);
  const fatal = (err: unknown): never => {
    log.error({ err }, 'fatal: the process cannot go on');
    process.exit(Exit.FAILED);
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', (error) => void (isHandledElsewhere(error) || fatal(error)));

  let reload = (): void => log.warn({}, 'the server is starting; the settings are not read again');
  const stopped = signalled(() => reload());
  const server = await Promise.race([startServer(settings, telemetry, fatal), stopped.then(() => undefined)]);
  if (!server) {
    log.info({ signal: await stopped }, 'stopped before the start was over');
    return Exit.OK;
  }
  let inForce = read;
  reload = () => (inForce = readAgain(args, read, inForce, server, telemetry));
  announce(settings, server, telemetry);
  const signal = await stopped;
  log.info({ signal }, 'shutting down');
  await server.close();
  log.info({}, 'stopped');
  return Exit.OK;
}

/** A second signal within this is the first one again: a terminal signals the whole group, and npm forwards the signal. */
const SAME_SIGNAL_MS = 1_000;

/**
 * Resolves at the first signal to stop; the second ends the process at once. SIGHUP means that the settings are to be read
 * again, unless the server was started in a terminal: then the terminal is gone.
 */
function signalled(onHangUp: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let seenMs: number | undefined;
    const inTerminal = process.stdin.isTTY;
    if (!inTerminal) process.on('SIGHUP', onHangUp);
    for (const signal of ['SIGTERM', 'SIGINT', ...(inTerminal ? (['SIGHUP'] as const) : [])] as const) {
      process.on(signal, () => {
        seenMs ??= performance.now();
        if (performance.now() - seenMs > SAME_SIGNAL_MS) process.exit(Exit.SIGNAL);
        resolve(signal);
      });
    }
  });
}

/**
 * Reads the settings again, and takes over those that a running server can. Bad settings change nothing. Returns the
 * settings in force.
 */
function readAgain(
  args: readonly string[],
  atStart: ReadSettings,
  inForce: ReadSettings,
  server: RunningServer,
  { log }: ProcessTelemetry,
): ReadSettings {
  try {
    const next = readSettings(args, process.env);
    const taken = changedSettings(inForce, next, 'hot');
    const needRestart = changedSettings(atStart, next, 'restart');
    server.apply(next.settings);
    log.info({ taken, needRestart }, 'the settings were read again');
    if (needRestart.length > 0) log.warn({ needRestart }, 'these settings count from the next start');
    return next;
  } catch (error) {
    if (!(error instanceof BadSettings)) throw error;
    log.error({ reason: error.message }, 'the settings were read again and cannot be used; nothing has changed');
    return inForce;
  }
}

/** Reports where the server listens: a log line for programs and, on a terminal, a few lines for a person. */
function announce(
  { host, store, tls }: Settings,
  { grpcPort, httpPort }: RunningServer,
  { log }: ProcessTelemetry,
): void {
  const place =
    store.kind === 'embedded'
      ? `its data in ${store.dataDir}`
      : `its data in etcd at ${store.endpoints.join(', ')}, under ${store.prefix}`;
  log.info({ version: VERSION, host, grpcPort, httpPort, store: store.kind }, 'listening');
  if (!process.stdout.isTTY) return;
  const near = ANY_ADDRESS.includes(host) ? 'localhost' : host;
  const name = bracketed(near);
  const address = `${name}:${grpcPort}`;
  const grpcurl = tls ? 'grpcurl -cacert CA.crt' : 'grpcurl -plaintext';
  const curl = tls ? 'curl --cacert CA.crt https' : 'curl http';
  const http = httpPort === undefined ? '' : ` and ${name}:${httpPort} (HTTP)`;
  process.stdout.write(`Rollcall ${VERSION} listens on ${address} (gRPC)${http}, with ${place}. Try:

  ${grpcurl} -d '{"instance":{"service":"pay","address":"10.0.0.7","port":8080}}' ${address} rollcall.v1.RegistryService/Register
  ${grpcurl} -d '{"service":"pay"}' ${address} rollcall.v1.RegistryService/Discover
  ${grpcurl} -d '{"all":true}' ${address} rollcall.v1.ConfigService/WatchConfig
${httpPort === undefined ? '' : `  ${curl}://${name}:${httpPort}/v1/services/pay\n`}
`);
}
