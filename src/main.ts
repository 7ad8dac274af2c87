#!/usr/bin/env node
import { CALLER_NAME, hashOf, newToken } from './access/tokens.js';
import { systemClock } from './base/clock.js';
import { bracketed } from './base/hosts.js';
import { isHandledElsewhere, renewEpoch, type RunningServer, startServer } from './server.js';
import { changedSettings, listSettings } from './settings/listing.js';
import { BadSettings, type ReadSettings, readSettings, type Settings, settingsHelp } from './settings/settings.js';
import { type ProcessTelemetry, processTelemetry } from './telemetry/telemetry.js';
import { VERSION } from './version.js';

const HELP = `Rollcall ${VERSION}: a self-hosted gRPC control plane.

  rollcall serve [settings]            starts a server
  rollcall serve --print-settings      prints every setting with its value and its source, and starts nothing
  rollcall store new-epoch [settings]  completes a restore of the store: all servers and watches start over
  rollcall token new NAME              draws a token, and prints it once with the entry for the access file
  rollcall certs demo DIR              makes certificates for trying out TLS: an authority, a server and a client
  rollcall version                     prints the version
  rollcall help                        prints this help

Settings. Each flag also has an environment variable, such as ROLLCALL_GRPC_PORT, and a place in the settings file, such as
grpc-port: 7400. A flag wins over its variable, and a variable over the file.
${settingsHelp()}
`;

/** Hosts that mean every address of the machine, and cannot be called. */
const ANY_ADDRESS = ['0.0.0.0', '::'];

/** The exit codes of the program. */
const Exit = { OK: 0, FAILED: 1, USAGE: 2, SIGNAL: 130 } as const;

/** The flag of serve that is no setting. */
const PRINT_SETTINGS = '--print-settings';

async function main([command = 'help', ...args]: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) return print(HELP);
  switch (command) {
    case 'serve':
      return args.includes(PRINT_SETTINGS) ? printSettings(args) : await serve(args);
    case 'store':
      return await storeCommand(args);
    case 'certs':
      return await certsCommand(args);
    case 'token':
      return tokenCommand(args);
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

/** Makes certificates for trying out. */
async function certsCommand([command, folder, ...more]: readonly string[]): Promise<number> {
  if (command !== 'demo' || folder === undefined || folder === '' || more.length > 0)
    return usage('the command for certificates is missing or unknown; use: rollcall certs demo DIR');
  // Only this command loads the library for certificates.
  const { writeDemoCertificates } = await import('./tls/demo.js');
  const path = await writeDemoCertificates(folder);
  return print(`${path} has certificates for trying out, valid for 30 days. Do not use them for anything else: the key of
their authority, ca.key, lies beside them. Start a server with them, and call it:

  rollcall serve --tls-cert ${path}/server.crt --tls-key ${path}/server.key --tls-client-ca ${path}/ca.crt --tls-client-certs optional
  grpcurl -cacert ${path}/ca.crt localhost:7400 rollcall.v1.RegistryService/ListServices
  curl --cacert ${path}/ca.crt --cert ${path}/client.crt --key ${path}/client.key https://localhost:7401/v1/services
`);
}

/** Draws a token. It is printed once and kept nowhere. */
function tokenCommand([command, name, ...more]: readonly string[]): number {
  if (command !== 'new' || name === undefined || more.length > 0)
    return usage('the command for tokens is missing or unknown; use: rollcall token new NAME');
  if (!CALLER_NAME.pattern.test(name)) return usage(`the name of a token ${CALLER_NAME.words}`);
  const token = newToken();
  return print(`${token}

This is the token; it is shown once. A client sends it as "authorization: Bearer TOKEN". Add this to "tokens" in the access
file, with the grants that the client needs:

tokens:
  - name: ${name}
    hash: ${hashOf(token)}
    grants:
      - { role: reader, namespaces: ["default"] }
`);
}

function printSettings(args: readonly string[]): number {
  const read = readSettings(
    args.filter((arg) => arg !== PRINT_SETTINGS),
    process.env,
  );
  for (const warning of read.warnings) process.stderr.write(`rollcall: ${warning}\n`);
  return print(listSettings(read));
}

/** Serves until a signal or a fatal error ends it. */
async function serve(args: readonly string[]): Promise<number> {
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

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${(error as Error).message.replace(/^/gm, 'rollcall: ')}\n`);
    process.exit(error instanceof BadSettings ? Exit.USAGE : Exit.FAILED);
  },
);
