// The program of the prober's thread. It owns every socket to a target; the main thread never waits for one.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import { HealthCheck, ProbeOutcome } from '../gen/rollcall/v1/check.js';
import { fromDuration, toDuration } from '../model/time.js';
import type { ProbeTarget } from '../model/probe.js';
import { type OwnPlace, ProbeRule, refusalOf } from '../model/probe-rule.js';
import { denied, fail, inconclusive, type ProbeEnd } from './outcomes.js';
import { beginProbe, type Place } from './probes.js';
import type { FromThread, ProbeOrders, ProberSettings, ToThread } from './protocol.js';
import { TargetResolver } from './resolver.js';
import { SteadyClock } from './steady-clock.js';

/** How often the thread probes itself, and how long that may take. */
const CANARY_EVERY_MS = 1_000;
const CANARY_TIMEOUT_MS = 1_000;
/** Reports are sent together so often. */
const REPORT_EVERY_MS = 50;
/**
 * The most probes of one address that begin within a second, where several names have it: twice what the main thread lets begin by
 * the address that an instance gives. Further ones wait.
 */
const PER_ADDRESS_MAX = 100;
const PER_ADDRESS_WINDOW_MS = 1_000;

const TIMEOUT = 'TIMEOUT';
const { rule: ruleSettings, onlyRegistrants, agent, ca } = workerData as ProberSettings;
const probing = { agent, secureContext: tls.createSecureContext(ca === undefined ? {} : { ca }) };
const rule = new ProbeRule(ruleSettings);
const resolver = new TargetResolver(() => clock.nowMs);
let own: readonly OwnPlace[] = [];

/** A probe that is under way. */
interface Open {
  readonly deadlineMs: number;
  readonly expire: () => void;
}
const open = new Set<Open>();
const begun = new Map<string, number>();
let windowEndsMs = 0;
const targets = new Map<number, ProbeTarget>();
let results: number[] = [];
let errors = new Map<number, string>();
let trouble: string | undefined;
let reportedTrouble: string | undefined;

const clock = new SteadyClock(() => {
  for (const one of [...open]) if (one.deadlineMs <= clock.nowMs) one.expire();
});

/** Runs a probe to its end, or to its deadline. */
function run(timeoutMs: number, begin: (done: (end: ProbeEnd) => void) => () => void): Promise<ProbeEnd> {
  return new Promise((resolve) => {
    let abort = (): void => undefined;
    const end = (one: ProbeEnd): void => {
      open.delete(entry);
      resolve(one);
    };
    const entry: Open = {
      deadlineMs: clock.nowMs + timeoutMs,
      expire: () => {
        abort();
        end(fail(TIMEOUT));
      },
    };
    open.add(entry);
    abort = begin(end);
  });
}

async function probe(id: number, target: ProbeTarget): Promise<void> {
  const beganMs = performance.now();
  const timeoutMs = fromDuration(target.check.timeout!);
  // Until the first packet whatever takes time is here, or at the resolver.
  let waitsFor: string | undefined = 'the resolver: TIMEOUT';
  const timed = await run(timeoutMs, (done) => {
    let abort = (): void => undefined;
    let isOver = false;
    void placeOf(target).then((place) => {
      if (isOver) return;
      if ('outcome' in place) return done(place);
      waitsFor = 'too many probes of this address';
      const start = (): void => {
        if (isOver) return;
        if (!mayBegin(place.ip)) return void setTimeout(start, REPORT_EVERY_MS);
        waitsFor = undefined;
        abort = beginProbe(place, target.check, probing, done);
      };
      start();
    });
    return () => {
      isOver = true;
      abort();
    };
  });
  const end = waitsFor !== undefined && timed.error === TIMEOUT ? inconclusive(waitsFor) : timed;
  // While the canary fails, nothing that this thread sees says anything about a target.
  const isOurs = trouble !== undefined && end.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL;
  const { outcome, error, certificateEndsMs = NaN } = isOurs ? inconclusive(trouble!) : end;
  results.push(id, outcome, performance.now() - beganMs, certificateEndsMs);
  if (error !== '') errors.set(id, error);
}

/** The address that may be probed, the first one of several. */
async function placeOf({ address, port, registrant }: ProbeTarget): Promise<Place | ProbeEnd> {
  const ips = await resolver.resolve(address);
  if ('outcome' in ips) return ips;
  let refusal = '';
  for (const ip of ips) {
    const refused = refusalOf(rule, onlyRegistrants, registrant, ip, port, own);
    if (refused === undefined) return { ip, port, address };
    refusal = refused;
  }
  return denied(refusal);
}

function mayBegin(ip: string): boolean {
  if (clock.nowMs >= windowEndsMs) {
    begun.clear();
    windowEndsMs = clock.nowMs + PER_ADDRESS_WINDOW_MS;
  }
  const count = begun.get(ip) ?? 0;
  if (count >= PER_ADDRESS_MAX) return false;
  begun.set(ip, count + 1);
  return true;
}

/** A server of its own that the thread probes as it probes targets: if that fails, the fault is here. */
const canary = http.createServer((_, response) => response.end());
canary.keepAliveTimeout = 1;
canary.on('error', (error: NodeJS.ErrnoException) => (trouble = `the prober itself: ${error.code ?? 'no port'}`));
canary.listen(0, '127.0.0.1', () => {
  const { port } = canary.address() as AddressInfo;
  const check = HealthCheck.fromPartial({
    probe: { $case: 'http', value: { path: '/', healthyStatuses: [{ from: 200, to: 299 }] } },
    timeout: toDuration(CANARY_TIMEOUT_MS),
  });
  const place = { ip: '127.0.0.1', port, address: '127.0.0.1' };
  const look = async (): Promise<void> => {
    const { outcome, error } = await run(CANARY_TIMEOUT_MS, (done) => beginProbe(place, check, probing, done));
    trouble = outcome === ProbeOutcome.PROBE_OUTCOME_PASS ? undefined : `the prober itself: ${error}`;
  };
  void look();
  setInterval(() => void look(), CANARY_EVERY_MS);
});

function take({ probes, targets: added, forgotten }: ProbeOrders): void {
  for (const number of forgotten) targets.delete(number);
  for (const [number, target] of added) targets.set(number, target);
  for (let i = 0; i < probes.length; i += 2) void probe(probes[i]!, targets.get(probes[i + 1]!)!);
}

parentPort!.on('message', (message: ToThread) => {
  if (message.kind === 'own') own = message.places;
  else take(message);
});
setInterval(() => {
  if (results.length === 0 && trouble === reportedTrouble) return;
  const message: FromThread = { results: Float64Array.from(results), errors, trouble };
  parentPort!.postMessage(message);
  results = [];
  errors = new Map();
  reportedTrouble = trouble;
}, REPORT_EVERY_MS);
