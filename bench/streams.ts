// Opens many watches and times one change: `npm run bench -- streams [OTHER]`. See README.md.
import { connect, type ClientHttp2Session } from 'node:http2';
import { BenchClient, framed } from './client.js';
import { publish } from './requests.js';
import { BenchServer, mainOf, THIS_CHECKOUT, withFolder } from './server.js';
import { existsSync } from 'node:fs';

const STREAMS = 10_000;
/** Below the 2,000 streams of a connection. */
const STREAMS_PER_SESSION = 1_000;
const CHANGES = 7;
const CONFIG_BYTES = 500;
/** WatchConfigRequest { all: true } */
const WATCH_ALL = framed(Buffer.from([0x18, 1]));
const PATH = '/rollcall.v1.ConfigService/WatchConfig';
const EVERY_MS = 5;

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
};

/** The figures of one build. */
interface Figures {
  readonly kbPerStream: number;
  readonly msToAll: readonly number[];
  readonly cpuMsPerChange: number;
}

async function measure(checkout: string): Promise<Figures> {
  return withFolder(async (folder) => {
    const server = await BenchServer.startOf(checkout, '--data-dir', folder);
    const client = new BenchClient(server.address, 1);
    await client.connected();
    const change = (n: number): Promise<number> =>
      client.run([publish('streams', 1, CONFIG_BYTES, String(n))].values(), 1);
    await change(-1);
    const sessions: ClientHttp2Session[] = [];
    /** The messages of each stream: the first is the snapshot. */
    const received = new Uint32Array(STREAMS);
    const before = server.memoryMb();
    for (let i = 0; i < STREAMS; i++) {
      if (i % STREAMS_PER_SESSION === 0) sessions.push(connect(`http://${server.address}`));
      const stream = sessions
        .at(-1)!
        .request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers' });
      stream.on('data', () => received[i]!++);
      stream.on('error', () => undefined);
      stream.end(WATCH_ALL);
      if (i % 500 === 499) await until(() => received.subarray(0, i + 1).every((count) => count > 0));
    }
    const kbPerStream = ((server.memoryMb() - before) * 1_024) / STREAMS;
    const msToAll: number[] = [];
    const cpuBefore = server.cpuSeconds();
    for (let n = 0; n < CHANGES; n++) {
      const had = received.slice();
      const began = performance.now();
      void change(n);
      await until(() => received.every((count, i) => count > had[i]!));
      msToAll.push(performance.now() - began);
    }
    const cpuMsPerChange = ((server.cpuSeconds() - cpuBefore) * 1_000) / CHANGES;
    for (const session of sessions) session.destroy();
    client.close();
    await server.stop();
    return { kbPerStream, msToAll: msToAll.sort((a, b) => a - b), cpuMsPerChange };
  });
}

export async function streams(other: string | undefined): Promise<void> {
  const builds = [['this', THIS_CHECKOUT], ...(other ? [['other', other] as const] : [])] as const;
  for (const [, checkout] of builds)
    if (!existsSync(mainOf(checkout))) throw new Error(`${mainOf(checkout)} does not exist`);
  for (let round = 1; round <= 2; round++) {
    for (const [name, checkout] of builds) {
      const { kbPerStream, msToAll, cpuMsPerChange } = await measure(checkout);
      const middle = msToAll[Math.floor(msToAll.length / 2)]!;
      console.log(
        `${name}, round ${round}: ${STREAMS} watches, ${kbPerStream.toFixed(1)} kB each; a change reached all in ` +
          `${middle.toFixed(0)} ms (median of ${CHANGES}, ${msToAll[0]!.toFixed(0)} to ${msToAll.at(-1)!.toFixed(0)}), ` +
          `${cpuMsPerChange.toFixed(0)} ms of server CPU`,
      );
    }
  }
}
