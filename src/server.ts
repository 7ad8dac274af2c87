import type { MemberRecord } from './gen/rollcall/storage/v1/records.js';
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { hostname } from 'node:os';
import { openApi, openDispatcher } from './api/api.js';
import { GAUGES } from './api/gauges.js';
import { Readiness } from './api/readiness.js';
import { GrpcEdge } from './edges/grpc/grpc-edge.js';
import { HttpEdge, type HttpEdgeParts } from './edges/http/http-edge.js';
import { IMAGE } from './edges/wire/image.js';
import type { ListenerTls } from './edges/wire/listener-tls.js';
import { TrustedProxies } from './edges/wire/trusted-proxies.js';
import { GrpcPeerStub } from './edges/grpc/peer-stub.js';
import { LoopbackSelfBeat } from './edges/loopback/self-beat.js';
import { peerConnector } from './edges/peer/connector.js';
import { settledWithin, systemClock } from './base/clock.js';
import { bracketed, isLoopbackHost } from './base/hosts.js';
import { type Closeable, Closers } from './base/lifecycle.js';
import { gaugeMetric } from './base/metrics.js';
import { systemRandom } from './base/random.js';
import type { Tracer } from './base/tracing.js';
import { newEpoch } from './catalog/sync/schema.js';
import { renewSecret } from './domain/cluster/peer-secret.js';
import { memberNodes } from './domain/cluster/view.js';
import { ThreadInspector } from './domain/config/inspection/thread-inspector.js';
import { PROTECTION_TIMES } from './domain/health/protection-times.js';
import { CannotMove, checkTarget, move, type Plan, planMove, undoMove } from './domain/moving/move.js';
import { type ClusterSettings, type Replica, startReplica } from './domain/replica.js';
import { ALL_INSTRUMENTS } from './instruments.js';
import { MEMBERS } from './model/member.js';
import type { Access } from './access/access.js';
import { Audit, type AuditParts } from './audit/audit.js';
import { AuditFile, type AuditFileParts } from './audit/audit-file.js';
import { PRIVATE_NETWORKS } from './model/probe-rule.js';
import { type NamedPlace, ownNetworks, OwnPlaces } from './prober/own-places.js';
import { ProberThread } from './prober/prober-thread.js';
import type { AuditSettings, CheckSettings, Settings, StoreSettings, TraceSettings } from './settings/settings.js';
import { isEchoOfFailedBatch } from './store/embedded/failed-batch.js';
import type { Store } from './store/store.js';
import { Metrics } from './telemetry/metrics.js';
import { ALARMS } from './tls/instruments.js';
import { isValidFor } from './tls/pem.js';
import { TlsFiles, type TlsFilesParts } from './tls/tls-files.js';
import type { ProcessTelemetry } from './telemetry/telemetry.js';
import { VERSION } from './version.js';

/** How long leaving the cluster may take: with the 10 s for calls in flight the process is gone within 15 s. */
const LEAVE_MAX_MS = 4_000;

/** A server that takes calls. */
export interface RunningServer extends Closeable {
  readonly grpcPort: number;
  /** `undefined` if HTTP is off. */
  readonly httpPort: number | undefined;
  /** Takes over the settings that a running server can change. */
  apply(settings: Settings): void;
}

/**
 * Starts a server: the port for HTTP with its probes, the store, the replica, the API and its edges, in this order. Health
 * checks answer SERVING last. Closing goes the other way. `onFatal` is called with an error after which the process cannot go on.
 */
export async function startServer(
  settings: Settings,
  telemetry: ProcessTelemetry,
  onFatal: (error: Error) => void,
): Promise<RunningServer> {
  const closers = new Closers();
  try {
    const tracer = settings.traces && closers.add(await openTracer(settings.traces, telemetry));
    const parts = { clock: systemClock, random: systemRandom, telemetry: { ...telemetry, tracer } };
    const { streamAgeMs } = settings;
    const tlsFiles = closers.add(new TlsFiles({ ...parts, uses: usesOf(settings) }));
    if (settings.insecure !== undefined) telemetry.alarms.raise(ALARMS.INSECURE, settings.insecure);
    const jwtKeys = { maxMs: settings.jwtKeysMaxMs };
    const access =
      settings.access === undefined ? undefined : closers.add(await openAccess(settings.access, jwtKeys, telemetry));
    const accessHash = (): string => access?.hash ?? '';
    const audit = closers.add(await openAudit(settings.audit, parts));
    const auditing = { audit, auditedCalls: settings.audit.calls, auditRequired: settings.audit.required };
    const clientCertificates = settings.tls?.clientCertificates ?? 'none';
    const dispatcher = openDispatcher({ ...parts, streamAgeMs, clientCertificates, access, ...auditing });
    access?.onChange(() => dispatcher.askAgain(), closers.addSignal());
    const readiness = new Readiness(NOT_READY);
    const proxies = new TrustedProxies(settings.trustedProxies);
    const edgeParts = { ...parts, proxies, dispatcher, readiness, tls: listenerTls(settings, tlsFiles) };
    const metrics = new Metrics(ALL_INSTRUMENTS, telemetry);
    metrics.add(dispatcher.stats.metrics());
    const http =
      settings.httpPort === undefined ? undefined : closers.add(openHttp(settings, { ...edgeParts, metrics }));
    const httpPort = await http?.listen(settings.host, settings.httpPort!);
    const store = closers.add(await openStore(settings.store, tlsFiles, telemetry, onFatal));
    const selfBeat = closers.add(await LoopbackSelfBeat.open(systemClock));
    const grpc = new GrpcEdge({ ...edgeParts, streamAgeMs });
    const grpcPort = await grpc.listen(settings.host, settings.grpcPort);
    // Everything down to offer() happens in the turn in which the port is bound, before any call is read.
    const address = settings.advertise ?? `${advertisedHost(settings.host)}:${grpcPort}`;
    warnOfForeignName(settings, address, telemetry);
    const node = settings.node ?? address;
    const cluster = store.exclusive
      ? undefined
      : clusterSettings(settings, { address, httpPort, accessHash }, tlsFiles);
    const prober = settings.checks && closers.add(openProber(settings.checks, telemetry));
    const protectionTimes = { ...PROTECTION_TIMES, maxMs: settings.protectionMaxMs };
    const replica = closers.add(
      startReplica({ ...parts, store, selfBeat, protectionTimes, node, cluster, ...(prober && { prober }) }),
    );
    if (prober) {
      const ports = [grpcPort, ...(httpPort === undefined ? [] : [httpPort])];
      const others = async (): Promise<NamedPlace[]> => [
        ...(await store.places()).map((url) => placeOf(new URL(url).host)),
        ...replica.catalog.members.flatMap(({ record }) => placesOf(record)),
      ];
      const own = closers.add(new OwnPlaces(systemClock, ports, others, (places) => prober.setOwn(places)));
      own.start();
      replica.membership?.onMembers(() => own.look(), closers.addSignal());
    }
    const about = {
      version: VERSION,
      startedAtMs: systemClock.wall(),
      alarms: () => telemetry.alarms.raised(),
      accessHash,
      ready: () => readiness.ready,
    };
    const inspector = closers.add(openInspector(telemetry));
    const api = closers.add(openApi(replica, dispatcher, about, { ...parts, inspector, audit }));
    const source = {
      replica,
      dispatcher,
      readiness,
      version: VERSION,
      watches: () => api.watches(),
      grpcConnections: () => grpc.connections,
      certificates: () => tlsFiles.ends(),
    };
    metrics.add(GAUGES.map((gauge) => gaugeMetric(gauge, source)));
    // Both edges at once: each gives calls in flight the same time. The port for HTTP was only first to open.
    closers.add({ close: async () => void (await Promise.all([grpc.close(), http?.close()])) });
    grpc.offer(api.methods);
    http?.offer(api.methods);
    void replica.catalog.whenReady().then(() => readiness.set('store'));
    await replica.ready;
    const follow = (serving: boolean): void => readiness.set('cluster', serving ? undefined : NOT_A_MEMBER);
    readiness.set('cluster');
    replica.membership?.onServing(follow, closers.addSignal());
    const apply = (next: Settings): void => {
      protectionTimes.maxMs = next.protectionMaxMs;
      jwtKeys.maxMs = next.jwtKeysMaxMs;
      telemetry.setLevel(next.logLevel);
      void tlsFiles.look();
      void access?.look();
      audit.reopen();
    };
    return { grpcPort, httpPort, apply, close: () => stop(readiness, replica, closers) };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

/** The conditions of readiness, and why each does not hold at first. */
const NOT_READY = { store: 'the store has not been read yet', cluster: 'the server has not joined yet' };
const NOT_A_MEMBER = 'the server waits before it joins the cluster again, and acknowledges no heartbeats meanwhile';

/** Makes the tracer. Only a server that exports traces loads the libraries for it: they take 170 ms and 20 MB. */
async function openTracer({ url, share }: TraceSettings, { log }: ProcessTelemetry): Promise<Tracer & Closeable> {
  const { OtlpTracer } = await import('./telemetry/otlp.js');
  const parts = { clock: systemClock, random: systemRandom, log: log.child('traces') };
  return new OtlpTracer({ ...parts, url, share, version: VERSION });
}

/** Reads the access file. Only a server that has one loads the libraries for it, which take 0.1 s. */
async function openAccess(path: string, jwtKeys: { maxMs: number }, telemetry: ProcessTelemetry): Promise<Access> {
  const { Access } = await import('./access/access.js');
  const log = telemetry.log.child('access');
  return Access.open({ path, clock: systemClock, telemetry: { ...telemetry, log }, keysKeepMs: () => jwtKeys.maxMs });
}

/** Opens the audit. */
async function openAudit(
  { log }: AuditSettings,
  parts: Pick<AuditParts, 'clock' | 'random' | 'telemetry'> & Pick<AuditFileParts, 'telemetry'>,
): Promise<Audit> {
  const sink = log === undefined ? undefined : await AuditFile.open({ ...parts, path: log });
  return new Audit({ ...parts, sink });
}

/** Makes the HTTP edge. */
function openHttp(
  { host, httpHosts, httpCorsOrigins }: Settings,
  parts: Omit<HttpEdgeParts, 'guard' | 'version' | 'image'>,
): HttpEdge {
  const guard = { loopback: isLoopbackHost(host), hosts: httpHosts, origins: httpCorsOrigins };
  return new HttpEdge({ ...parts, guard, image: IMAGE, version: VERSION });
}

/** Starts the thread that parses large configs. */
function openInspector({ log, counters }: ProcessTelemetry): ThreadInspector {
  const inspector = new ThreadInspector({ clock: systemClock, log: log.child('config'), counters });
  inspector.start();
  return inspector;
}

/** Makes the prober. Its thread starts with the first check. */
function openProber(
  { loopback, networks, ports, onlyRegistrants, ca, openMax }: CheckSettings,
  { log }: ProcessTelemetry,
): ProberThread {
  const rule = { loopback, ports, networks: networks ?? [...PRIVATE_NETWORKS, ...ownNetworks()] };
  const settings = { rule, onlyRegistrants, agent: `rollcall-check/${VERSION}`, ca: ca?.content.toString('utf8') };
  return new ProberThread({ settings, openMax, clock: systemClock, log: log.child('checks') });
}

/** The ports of a member. */
function placesOf({ address, httpPort }: MemberRecord): NamedPlace[] {
  const place = placeOf(address);
  return httpPort === 0 ? [place] : [place, { ...place, port: httpPort }];
}

/** The host and the port of an address. */
function placeOf(address: string): NamedPlace {
  const at = address.lastIndexOf(':');
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(address.slice(at + 1)) };
}

/** Other servers do not take the answers of one whose certificate has another name than they reach it by. */
function warnOfForeignName({ tls, store }: Settings, address: string, { log }: ProcessTelemetry): void {
  const { cert } = tls?.files ?? {};
  const host = tls?.peerName ?? address.replace(/:\d+$/, '');
  if (store.kind !== 'etcd' || !cert || isValidFor(cert, host)) return;
  const text =
    'the certificate of this server is not valid for the host by which the other servers verify it, so that they take none of its answers and no instance expires: name the host in the certificate, or set --advertise or --peer-name';
  log.warn({ certificate: cert.path, host }, text);
}

/** The identity of this process in a cluster. */
function clusterSettings(
  { tls }: Settings,
  own: Omit<ClusterSettings, 'connect'>,
  tlsFiles: TlsFiles,
): ClusterSettings {
  const peerTls = tls && { source: tlsFiles.of('peers')!, name: tls.peerName };
  const connect: ClusterSettings['connect'] = (proofs) =>
    peerConnector((target) => new GrpcPeerStub(target, peerTls, proofs));
  return { ...own, connect };
}

/** The files of TLS that the settings name, by use. */
function usesOf({ tls, store }: Pick<Settings, 'tls' | 'store'>): TlsFilesParts['uses'] {
  const { cert, key } = tls?.files ?? {};
  return {
    ...(tls && cert && key && { server: tls.files, peers: { cert, key, ...(tls.peerCa && { ca: tls.peerCa }) } }),
    ...(store.kind === 'etcd' && Object.keys(store.tls).length > 0 && { etcd: store.tls }),
  };
}

/** TLS of the ports; `undefined` if they speak without it. */
function listenerTls({ tls }: Settings, tlsFiles: TlsFiles): ListenerTls | undefined {
  return tls && { source: tlsFiles.of('server')!, asksClients: tls.clientCertificates !== 'none' };
}

/**
 * Stops: health checks answer NOT_SERVING, the cluster is left while calls are still taken, and then everything is closed.
 * A store that does not answer must not hold up the end.
 */
async function stop(readiness: Readiness, replica: Replica, closers: Closers): Promise<void> {
  readiness.set('shutdown', 'the server is shutting down');
  await settledWithin(systemClock, LEAVE_MAX_MS, replica.leave());
  await closers.close();
}

/** The host at which others reach this server. A host that means every address of the machine cannot be called. */
function advertisedHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return hostname();
  return bracketed(host);
}

/**
 * Gives the store of the settings a new epoch: the last step of a restore. Returns the epoch, and the nodes whose member
 * keys are in the store: their servers run, or ran less than a lease before the backup was taken.
 */
export async function renewEpoch(
  settings: StoreSettings,
  telemetry: ProcessTelemetry,
): Promise<{ epoch: string; nodes: readonly string[] }> {
  if (settings.kind === 'embedded' && !existsSync(settings.dataDir))
    throw new Error(`there is no data folder ${settings.dataDir}`);
  return withStore(settings, telemetry, async (store) => {
    const nodes = await memberNodes(store); // before the members list again, and leave for a moment
    const epoch = await newEpoch(store, systemRandom); // refuses a store of another schema, which must stay unchanged
    // A copy of the store from before the restore has the secret of the members.
    if (!store.exclusive) await renewSecret(store, systemRandom);
    return { epoch, nodes };
  });
}

/** Puts a backup into an empty data folder, and gives the data a new epoch. */
export async function restoreStore(
  file: string,
  settings: StoreSettings & { readonly kind: 'embedded' },
  telemetry: ProcessTelemetry,
): Promise<{ revision: string; epoch: string }> {
  const { restoreFolder } = await import('./store/embedded/restore.js');
  const { head, completed } = await restoreFolder({ file, folder: settings.dataDir, clock: systemClock }, (dataDir) =>
    renewEpoch({ ...settings, dataDir }, telemetry),
  );
  return { revision: head.revision, epoch: completed.epoch };
}

/** Moves the store of one group of settings into that of another. `isDry`: nothing is written. */
export async function moveStore(
  {
    from,
    to,
    isDry,
    onStep,
  }: { from: StoreSettings; to: StoreSettings; isDry: boolean; onStep: (done: number, all: number) => void },
  telemetry: ProcessTelemetry,
): Promise<Pick<Plan, 'counts' | 'left'> & { epoch: string }> {
  if (from.kind === 'embedded' && !existsSync(from.dataDir)) throw new Error(`there is no data folder ${from.dataDir}`);
  if (from.kind === 'embedded' && to.kind === 'embedded' && resolve(from.dataDir) === resolve(to.dataDir))
    throw new CannotMove(`the source and the target are the same folder, ${to.dataDir}`);
  return withStore(from, telemetry, async (source) => {
    const plan = await planMove(source);
    const isNew = to.kind === 'embedded' && !(await hasData(to.dataDir));
    if (isDry) {
      if (!isNew) await withStore(to, telemetry, (target) => checkTarget(plan, target));
      return { ...plan, epoch: '' };
    }
    const epoch = await withStore(to, telemetry, (target) =>
      move(plan, { source, target, random: systemRandom, onStep }),
    );
    return { ...plan, epoch };
  });
}

/** Returns true if a data folder holds a store, false if it is empty or missing. Throws CannotMove if it holds something else. */
async function hasData(folder: string): Promise<boolean> {
  const { dataFile, lockFile } = await import('./store/embedded/folder.js');
  if (existsSync(dataFile(folder))) return true;
  const other = existsSync(folder) && readdirSync(folder).find((name) => join(folder, name) !== lockFile(folder));
  if (other)
    throw new CannotMove(`the target folder ${folder} is not empty: it has ${other}. Name a new one, or move it away`);
  return false;
}

/** Takes back an unfinished move into a store. Returns the number of keys that it had written. */
export function undoMoveInto(to: StoreSettings, telemetry: ProcessTelemetry): Promise<number> {
  return withStore(to, telemetry, (target) => undoMove(target, systemRandom));
}

/** Opens a store without a server, for as long as `use` takes. */
async function withStore<T>(
  settings: StoreSettings,
  telemetry: ProcessTelemetry,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  const fail = (error: Error): never => {
    throw error;
  };
  const tlsFiles = new TlsFiles({ clock: systemClock, telemetry, uses: usesOf({ tls: undefined, store: settings }) });
  const store = await openStore(settings, tlsFiles, telemetry, fail);
  try {
    return await use(store);
  } finally {
    await store.close();
    tlsFiles.close();
  }
}

/** Opens the store of the settings. It does not fail if etcd is unreachable: the replica waits for it. */
async function openStore(
  settings: StoreSettings,
  tlsFiles: TlsFiles,
  telemetry: ProcessTelemetry,
  onFatal: (error: Error) => void,
): Promise<Store> {
  const clock = systemClock;
  // Only the store that is used is loaded.
  if (settings.kind === 'embedded') {
    const { openEmbeddedStore } = await import('./store/embedded/open.js');
    return openEmbeddedStore({ folder: settings.dataDir, memberPrefix: MEMBERS, clock, telemetry, onFatal });
  }
  const { openEtcdStore } = await import('./store/etcd/etcd-store.js');
  const connection = { ...settings, tls: tlsFiles.of('etcd') };
  return openEtcdStore({ connection, prefix: settings.prefix, clock, random: systemRandom, telemetry });
}

/**
 * Returns true for an unhandled rejection that says nothing new: the store handles the same failure elsewhere. No store is
 * loaded for this.
 */
export function isHandledElsewhere(error: unknown): boolean {
  return isEchoOfFailedBatch(error);
}
