// Times heartbeats while other calls are refused: `npm run bench -- refusals`. It needs h2load, which is in Debian's package
// nghttp2-client: a client of Node would take the core that the heartbeats need. See README.md.
import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BenchClient, type Call, type Reach } from './client.js';
import { guards } from './guards.js';
import { beats, discover, register, rejectedItems } from './requests.js';
import { BenchServer, withFolder } from './server.js';
import { quantile } from './statistics.js';

const INSTANCES = 2_000;
const TTL_SECONDS = 6;
/** Each instance beats three times per ttl. */
const BEAT_EVERY_MS = (TTL_SECONDS * 1_000) / 3;
const REFUSED_PER_SECOND = 5_000;
const PHASE_MS = 20_000;
const TICK_MS = 5;

/** How long the calls of each second took, in milliseconds. */
type Took = readonly (readonly number[])[];

/** Lets every instance beat for a while. */
async function beat(client: BenchClient, calls: readonly Call[]): Promise<Took> {
  const took = Array.from({ length: PHASE_MS / 1_000 }, (): number[] => []);
  const open: Promise<void>[] = [];
  const began = performance.now();
  let sent = 0;
  const one = async (call: Call): Promise<void> => {
    const from = performance.now();
    if (rejectedItems(await client.call(call)) > 0) throw new Error('the server rejected a heartbeat');
    took[Math.min(Math.floor((from - began) / 1_000), took.length - 1)]!.push(performance.now() - from);
  };
  while (performance.now() - began < PHASE_MS) {
    const due = ((performance.now() - began) / BEAT_EVERY_MS) * calls.length;
    for (; sent < due; sent++) open.push(one(calls[sent % calls.length]!));
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  await Promise.all(open);
  return took;
}

function figures(took: Took): string {
  const all = [0.5, 0.99, 1].map((share) => quantile(took.flat(), share).toFixed(1)).join(' / ');
  const ofMedianSecond = quantile(
    took.map((second) => quantile(second, 0.99)),
    0.5,
  );
  return `p50 / p99 / max ${all} ms, p99 of the median second ${ofMedianSecond.toFixed(1)} ms`;
}

/** An issuer, whose name the attacker knows and whose key it does not. */
function issuer(folder: string): { entry: string; jwt: string } {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keys = join(folder, 'keys.json');
  writeFileSync(keys, JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', use: 'sig' }] }));
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: 'https://idp.example', aud: 'rollcall', sub: 'a', exp: Math.floor(Date.now() / 1_000) + 3_600 };
  return {
    entry: `jwt: [{ alias: idp, issuer: "https://idp.example", audience: rollcall, keys-file: "${keys}", grants: [{ role: reader, namespaces: ["*"] }] }]\n`,
    jwt: `${part({ alg: 'ES256', kid: 'k' })}.${part(claims)}.`,
  };
}

/** Sends calls at a steady rate for as long as a phase lasts. */
async function attack(address: string, body: string, perSecond: number, credential: string | undefined): Promise<void> {
  const connections = 4;
  const headers = ['content-type: application/grpc', 'te: trailers'];
  if (credential !== undefined) headers.push(`authorization: ${credential}`);
  const args = [
    ...['-D', String(PHASE_MS / 1_000), '-c', String(connections), '-m', '100'],
    ...[`--rps=${Math.round(perSecond / connections)}`, '-d', body],
    ...headers.flatMap((header) => ['-H', header]),
  ];
  const path = '/rollcall.v1.RegistryService/Discover';
  const child = spawn('h2load', [...args, `http://${address}${path}`], { stdio: 'ignore' });
  await once(child, 'exit');
}

async function metricsOf({ httpPort }: BenchServer, { token }: Reach): Promise<string> {
  const headers = { authorization: `Bearer ${token}` };
  return (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { headers })).text();
}

/** The errors so far, by their reason. */
async function errorsOf(server: BenchServer, reach: Reach): Promise<Map<string, number>> {
  const text = await metricsOf(server, reach);
  const lines = text.matchAll(/^rollcall_call_errors_total\{reason="(\w+)"\} (\d+)$/gm);
  return new Map([...lines].map(([, reason, count]) => [reason!, Number(count)]));
}

export async function refusals(): Promise<void> {
  await withFolder(async (folder) => {
    const { entry, jwt } = issuer(folder);
    const limited = `  - { callers: [anonymous], calls-per-second: 1 }\nanonymous: [{ role: discoverer, namespaces: ["*"] }]\n`;
    const { args, reach } = guards(folder, { access: true, tls: false }, `${limited}${entry}`);
    const server = await BenchServer.start('--data-dir', join(folder, 'data'), ...args);
    const client = new BenchClient(server.address, 4, reach);
    const choice = { ttlSeconds: TTL_SECONDS };
    await client.run(Array.from({ length: INSTANCES }, (_, i) => register(i, choice)).values(), 50);
    const calls = Array.from({ length: INSTANCES }, (_, i) => beats(i, 1));
    await beat(client, calls); // warm
    let cpu = server.cpuSeconds();
    const load = (): string => {
      const used = ((server.cpuSeconds() - cpu) / (PHASE_MS / 1_000)) * 100;
      cpu = server.cpuSeconds();
      return `${used.toFixed(0)} % of a core`;
    };
    console.log(`heartbeats alone: ${figures(await beat(client, calls))}, ${load()}`);
    const body = join(folder, 'discover.bin');
    writeFileSync(body, discover('a').body);
    const token = `Bearer rc_${randomBytes(32).toString('base64url')}`;
    const signature = `Bearer ${jwt}${randomBytes(64).toString('base64url')}`;
    for (const [kind, credentials] of [
      ['wrong tokens', [token]],
      ['wrong signatures', [signature]],
      ['calls over quota', [undefined]],
      ['all of them', [token, signature, undefined]],
    ] as const) {
      const before = await errorsOf(server, reach);
      const perSecond = Math.round(REFUSED_PER_SECOND / credentials.length);
      const attacks = credentials.map((credential) => attack(server.address, body, perSecond, credential));
      const took = await beat(client, calls);
      await Promise.all(attacks);
      console.log(`${kind}: ${figures(took)}, ${load()}`);
      const after = await errorsOf(server, reach);
      for (const [reason, count] of after) {
        const perSecond = (count - (before.get(reason) ?? 0)) / (PHASE_MS / 1_000);
        if (perSecond > 0) console.log(`  ${reason}: ${perSecond.toFixed(0)} a second`);
      }
    }
    const metrics = await metricsOf(server, reach);
    if (!/^rollcall_verdicts_total 0$/m.test(metrics)) throw new Error('instances fell silent');
    console.log('no instance fell silent');
    client.close();
    await server.stop();
  });
}
