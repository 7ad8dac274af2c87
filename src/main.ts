#!/usr/bin/env node
import { systemClock } from './base/clock.js';
import { bracketed } from './base/hosts.js';
import { isHandledElsewhere, renewEpoch, type RunningServer, startServer } from './server.js';
import { BadSettings, readSettings, type Settings, settingsHelp } from './settings/settings.js';
import { type ProcessTelemetry, processTelemetry } from './telemetry/telemetry.js';
import { VERSION } from './version.js';

const HELP = `Rollcall ${VERSION}: a self-hosted gRPC control plane.

  rollcall serve [settings]            starts a server
  rollcall store new-epoch [settings]  completes a restore of the store: all servers and watches start over
  rollcall version                     prints the version
  rollcall help                        prints this help

Settings. Each flag also has an environment variable, such as ROLLCALL_GRPC_PORT. A flag wins over its variable.
${settingsHelp()}
`;

/** Hosts that mean every address of the machine, and cannot be called. */
const ANY_ADDRESS = ['0.0.0.0', '::'];

/** The exit codes of the program. */
const Exit = { OK: 0, FAILED: 1, USAGE: 2, SIGNAL: 130 } as const;

async function main([command = 'help', ...args]: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) return print(HELP);
  switch (command) {
    case 'serve':
      return await serve(args);
    case 'store':
      return await storeCommand(args);
    case 'version':
    case '--version':
      return args.length > 0
        ? usage(`version takes no arguments, but has ${JSON.stringify(args[0])}`)
        : print(`${VERSION}\n`);
    case 'help':
    case '--help':
    case '-h':
      return print(HELP);
    default:
      return usage(`unknown command ${JSON.stringify(command)}; "rollcall help" lists the commands`);
  }
}

function usage(text: string): number {
  process.stderr.write(`rollcall: ${text}\n`);
  return Exit.USAGE;
}

function print(text: string): number {
  process.stdout.write(text);
  return Exit.OK;
}

/** Runs a command on the store, without a server. */
async function storeCommand([command, ...args]: readonly string[]): Promise<number> {
  if (command !== 'new-epoch') {
    return usage('the command for the store is missing or unknown; use: rollcall store new-epoch');
  }
  const { settings } = readSettings(args, process.env);
  const { epoch, nodes } = await renewEpoch(settings.store, processTelemetry('error', systemClock));
  if (nodes.length > 0)
    process.stderr.write(
      `rollcall: the store has members: ${nodes.join(', ')}. If these servers run, their watches begin again now.\n`,
    );
  return print(`the store has the new epoch ${epoch}\n`);
}

/** Serves until a signal or a fatal error ends it. */
async function serve(args: readonly string[]): Promise<number> {
  const { settings, warnings } = readSettings(args, process.env);
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

  const stopped = signalled();
  const server = await Promise.race([startServer(settings, telemetry, fatal), stopped.then(() => undefined)]);
  if (!server) {
    log.info({ signal: await stopped }, 'stopped before the start was over');
    return Exit.OK;
  }
  announce(settings, server, telemetry);
  const signal = await stopped;
  log.info({ signal }, 'shutting down');
  await server.close();
  log.info({}, 'stopped');
  return Exit.OK;
}

/** A second signal within this is the first one again: a terminal signals the whole group, and npm forwards the signal. */
const SAME_SIGNAL_MS = 1_000;

/** Resolves at the first signal to stop; the second ends the process at once. */
function signalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let seenMs: number | undefined;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        seenMs ??= performance.now();
        if (performance.now() - seenMs > SAME_SIGNAL_MS) process.exit(Exit.SIGNAL);
        resolve(signal);
      });
    }
  });
}

/** Reports where the server listens: a log line for programs and, on a terminal, a few lines for a person. */
function announce({ host, store }: Settings, { grpcPort, httpPort }: RunningServer, { log }: ProcessTelemetry): void {
  const place =
    store.kind === 'embedded'
      ? `its data in ${store.dataDir}`
      : `its data in etcd at ${store.endpoints.join(', ')}, under ${store.prefix}`;
  log.info({ version: VERSION, host, grpcPort, httpPort, store: store.kind }, 'listening');
  if (!process.stdout.isTTY) return;
  const near = ANY_ADDRESS.includes(host) ? 'localhost' : host;
  const name = bracketed(near);
  const address = `${name}:${grpcPort}`;
  const http = httpPort === undefined ? '' : ` and ${name}:${httpPort} (HTTP)`;
  process.stdout.write(`Rollcall ${VERSION} listens on ${address} (gRPC)${http}, with ${place}. Try:

  grpcurl -plaintext -d '{"instance":{"service":"pay","address":"10.0.0.7","port":8080}}' ${address} rollcall.v1.RegistryService/Register
  grpcurl -plaintext -d '{"service":"pay"}' ${address} rollcall.v1.RegistryService/Discover
  grpcurl -plaintext -d '{"all":true}' ${address} rollcall.v1.ConfigService/WatchConfig
${httpPort === undefined ? '' : `  curl http://${name}:${httpPort}/v1/services/pay\n`}
`);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${(error as Error).message.replace(/^/gm, 'rollcall: ')}\n`);
    process.exit(error instanceof BadSettings ? Exit.USAGE : Exit.FAILED);
  },
);
