// An instance of a service that watches a service and a config. See ../README.md for its settings and its output.
import { readFileSync } from 'node:fs';
import { CallError, Client, ResetReason, tokenFile } from 'rollcall-client';

const {
  ROLLCALL_SERVERS: servers = 'localhost:7400',
  ROLLCALL_CA: ca,
  ROLLCALL_TOKEN_FILE: token,
  SERVICE: service = 'hello',
  INSTANCE_ID: id = 'node',
  ADDRESS: address = '127.0.0.1',
  PORT: port = '8080',
  TTL_SECONDS: ttl = '15',
  WATCH_SERVICE: watched = service,
  CONFIG_KEY: key = 'hello.yaml',
  DRAIN_SECONDS: drain = '1',
} = process.env;

/** The exit codes of an example. */
const Exit = { STOPPED: 0, REFUSED: 2, OVER: 3 };

const client = new Client({
  addresses: servers.split(','),
  ...(ca && { tls: { ca: readFileSync(ca) } }),
  ...(token && { token: tokenFile(token) }),
});

function refused(call, error) {
  const reason = error instanceof CallError ? `${error.code} ${error.reason}` : '';
  console.error(`${call}: ${reason} ${error.message}`);
  process.exit(Exit.REFUSED);
}

/** Prints what a view shows, and again whenever that is another text. */
async function print(call, view, textOf) {
  let printed;
  try {
    for await (const changed of view.changes()) {
      const text = textOf(changed, printed);
      if (text !== printed) console.log(text);
      printed = text;
    }
  } catch (error) {
    refused(call, error);
  }
}

const watchOptions = (watch) => ({
  onReset: (reason) => console.log(`reset ${watch} ${ResetReason[reason].replace('RESET_REASON_', '')}`),
  onInterrupted: (error) => console.error(`${watch}: ${error.message}`),
});

const instances = client.viewServices({ services: [watched] }, watchOptions('services'));
print('WatchServices', instances, (view) => {
  const ids = view.instances().map((instance) => instance.id);
  return `instances ${watched}: ${ids.sort().join(' ') || '-'}`;
});

const configs = client.viewConfigs({ keys: [key] }, watchOptions('config'));
const missing = `config ${key} missing`;
print('WatchConfig', configs, (view, printed = missing) => {
  const config = view.config(key);
  if (config) return `config ${key} ${config.version}`;
  return printed === missing ? missing : `config ${key} deleted`;
});

async function stop() {
  await client.close({ drainMs: Number(drain) * 1_000 }).catch((error) => refused('Deregister', error));
  console.log('deregistered');
  process.exit(Exit.STOPPED);
}
process.once('SIGTERM', stop).once('SIGINT', stop);

function onEvent(event) {
  if (event.kind === 'registered') console.log(`registered ${service}/${id}`);
  if (event.kind === 'failed') console.error(`${event.error.reason} ${event.error.message}`);
  if (event.kind === 'over') {
    console.log(`over ${event.reason}`);
    process.exit(Exit.OVER);
  }
}

const instance = { service, id, address, port: Number(port), ttl: { seconds: BigInt(ttl), nanos: 0 } };
await client.register(instance, { onEvent }).catch((error) => refused('Register', error));
