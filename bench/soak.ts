// Runs a server under steady load and watches its memory: `npm run bench -- soak [MINUTES]`. See README.md.
import { get, type IncomingMessage } from 'node:http';
import { credentials, type ClientReadableStream } from '@grpc/grpc-js';
import { WatchConfigRequest } from '../src/gen/rollcall/v1/config_service.js';
import { ConfigServiceClient } from '../test/support/clients.js';
import { BenchClient } from './client.js';
import { beats, publish, registers } from './requests.js';
import { BenchServer, endServers, withFolder } from './server.js';

const MINUTES = 60;
/** Memory is compared with that at this part of the run: caches are full by then. */
const WARM_PART = 0.25;
const WATCHES_EACH = 200;
/** Of the watches over each protocol, these read nothing. The server ends them, and they begin again. */
const STOPPED_EACH = 10;
const PUBLISHES_PER_SECOND = 20;
const CONFIGS = 50;
const CONFIG_BYTES = 2_000;
const INSTANCES = 500;
const BEAT_EVERY_MS = 1_000;
const SCRAPE_EVERY_MS = 5_000;
const SAMPLE_EVERY_MS = 15_000;
const AGAIN_MS = 1_000;
const RENEW_EVERY_MS = 600_000;

/** What the readers saw. */
const seen = { sse: 0, grpc: 0, begun: 0 };
let over = false;

const again = (begin: () => void): void => {
  if (!over) setTimeout(begin, AGAIN_MS);
};

/** The configs of one watch: a tenth of all. */
const keysOf = (watch: number): string[] =>
  Array.from({ length: CONFIGS / 10 }, (_, i) => `soak-${(watch % 10) + 10 * i}-0.yaml`);

function watchOverHttp(url: string, keys: readonly string[], stopped: boolean): void {
  const query = keys.map((key) => `filters.keys=${key}`).join('&');
  const begin = (): void => {
    seen.begun++;
    const headers = { accept: 'text/event-stream' };
    const request = get(`${url}/rollcall.v1.ConfigService/WatchConfig?${query}`, { headers, agent: false }, read);
    request.on('error', () => again(begin));
  };
  const read = (response: IncomingMessage): void => {
    if (!stopped) response.on('data', () => seen.sse++);
    response.on('error', () => undefined);
    response.on('close', () => again(begin));
  };
  begin();
}

function watchOverGrpc(client: ConfigServiceClient, keys: readonly string[], stopped: boolean): void {
  const request = WatchConfigRequest.fromPartial({ filters: [{ keys: [...keys] }] });
  const begin = (): void => {
    seen.begun++;
    const stream: ClientReadableStream<unknown> = client.watchConfig(request);
    if (stopped) stream.pause();
    else stream.on('data', () => seen.grpc++);
    stream.on('error', () => undefined);
    stream.on('close', () => again(begin));
    if (stopped) stream.on('end', () => undefined);
    // A client that reads nothing does not see the end, either.
    if (stopped) setTimeout(() => stream.cancel(), 300_000);
  };
  begin();
}

export async function soak(minutes = MINUTES): Promise<void> {
  await withFolder(async (folder) => {
    const port = 17_400 + (process.pid % 1_000) * 2;
    const server = await BenchServer.start('--data-dir', folder, '--http-port', String(port));
    process.once('SIGINT', endServers);
    const url = `http://127.0.0.1:${port}`;
    let client = new BenchClient(server.address);
    await client.connected();
    await client.run(registers(0, INSTANCES), 50);
    const channel = (): ConfigServiceClient =>
      new ConfigServiceClient(server.address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    const channels = [0, 1, 2, 3].map(channel);
    const stoppedChannel = channel();
    for (let i = 0; i < WATCHES_EACH; i++) {
      watchOverHttp(url, keysOf(i), i < STOPPED_EACH);
      watchOverGrpc(i < STOPPED_EACH ? stoppedChannel : channels[i % channels.length]!, keysOf(i), i < STOPPED_EACH);
    }
    let published = 0;
    // The server ends connections after half an hour; this client does not notice.
    const renew = (): void => {
      const before = client;
      client = new BenchClient(server.address);
      setTimeout(() => before.close(), AGAIN_MS);
    };
    const timers = [
      setInterval(renew, RENEW_EVERY_MS),
      setInterval(
        () =>
          void client.run([publish(`soak-${published % CONFIGS}`, 1, CONFIG_BYTES, String(published++))].values(), 1),
        1_000 / PUBLISHES_PER_SECOND,
      ),
      setInterval(() => void client.run([beats(0, INSTANCES)].values(), 1), BEAT_EVERY_MS),
      setInterval(() => void fetch(`${url}/metrics`).then((response) => response.text()), SCRAPE_EVERY_MS),
    ];
    const samples: { minute: number; mb: number }[] = [];
    const began = performance.now();
    const cpuBegan = server.cpuSeconds();
    while (performance.now() - began < minutes * 60_000 && server.end === undefined) {
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_EVERY_MS));
      const minute = (performance.now() - began) / 60_000;
      samples.push({ minute, mb: server.memoryMb() });
      const cpu = ((server.cpuSeconds() - cpuBegan) / (minute * 60)) * 100;
      console.log(
        `minute ${minute.toFixed(1)}: ${server.memoryMb().toFixed(0)} MB, CPU ${cpu.toFixed(0)} %, ${published} publishes, messages ${seen.sse} SSE and ${seen.grpc} gRPC, ${seen.begun} watches begun`,
      );
    }
    over = true;
    for (const timer of timers) clearInterval(timer);
    const meanFrom = (from: number, to: number): number => {
      const part = samples.filter(({ minute }) => minute >= from && minute <= to).map(({ mb }) => mb);
      return part.reduce((sum, mb) => sum + mb, 0) / part.length;
    };
    // A mean of some minutes: the garbage collector lets single samples differ.
    const span = minutes / 12;
    const warm = meanFrom(minutes * WARM_PART, minutes * WARM_PART + span);
    const last = meanFrom(minutes - span, minutes);
    console.log(
      `memory: ${warm.toFixed(0)} MB after a quarter of the time, ${last.toFixed(0)} MB at the end: ${((last / warm - 1) * 100).toFixed(1)} %`,
    );
    await server.stop();
  });
  process.exit(0);
}
