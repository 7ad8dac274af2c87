import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { Worker } from 'node:worker_threads';
import type { Clock } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { Log } from '../base/telemetry.js';
import type { Prober } from '../domain/checks/prober.js';
import type { ProbeResult, ProbeTarget } from '../model/probe.js';
import { ProbeOutcome } from '../gen/rollcall/v1/check.js';
import { type OwnPlace, ProbeRule, refusalOf } from '../model/probe-rule.js';
import { type FromThread, type ProberSettings, RESULT_NUMBERS, type ToThread } from './protocol.js';

/** The built program of the thread: loaders of sources do not reach into threads. */
const PROGRAM = new URL('thread.js', import.meta.url);
/** The memory of the thread: open probes, and the certificates of their connections. */
const THREAD_MEMORY_MB = 256;
/** The wait before a thread that died is replaced. */
const RESTART_MS = 1_000;
/**
 * The most probes of one address that begin within a second. A machine with a hundred instances, each with a check every two
 * seconds, takes as many. Further ones wait for their turn, so that intervals grow.
 */
export const PER_ADDRESS_MAX = 50;
const PER_ADDRESS_WINDOW_MS = 1_000;
/** The share of the file descriptors of the process that open probes may take. */
const FILES_SHARE = 1 / 4;

/** The dependencies of a ProberThread. */
export interface ProberThreadParts {
  readonly settings: ProberSettings;
  /** The most probes that are open at once. */
  readonly openMax: number;
  readonly clock: Clock;
  readonly log: Log;
  /** The program of the thread. Default: thread.ts, as it was built. */
  readonly program?: URL;
}

/**
 * Probes in a thread of its own, which is started with the first probe. A thread that dies is replaced; its probes end
 * INCONCLUSIVE.
 */
export class ProberThread implements Prober, Closeable {
  readonly #openMax: number;
  readonly #open = new Map<number, (result: ProbeResult) => void>();
  /** The numbers by which the thread knows targets. One that nothing refers to any more is forgotten there, too. */
  #numbers = new WeakMap<ProbeTarget, number>();
  readonly #gone = new FinalizationRegistry<number>((number) => this.#forgotten.push(number));
  #forgotten: number[] = [];
  #probes: number[] = [];
  #targets = new Map<number, ProbeTarget>();
  /** The probes of each address that began within the present second. */
  readonly #begun = new Map<string, number>();
  #windowEndsMs = -Infinity;
  #nextId = 1;
  #nextNumber = 1;
  #thread: Worker | undefined;
  /** Why the thread cannot probe, as it says itself. */
  #trouble: string | undefined;
  /** Why there is no thread now, until the one that died is replaced. */
  #dead: string | undefined;
  #own: readonly OwnPlace[] | undefined;
  #isClosed = false;

  readonly #rule: ProbeRule;

  constructor(private readonly parts: ProberThreadParts) {
    this.#rule = new ProbeRule(parts.settings.rule);
    this.#openMax = Math.min(parts.openMax, Math.floor(filesMax() * FILES_SHARE));
  }

  /** The number of probes that are open or wait for the thread. */
  get open(): number {
    return this.#open.size;
  }

  /** Nothing is probed before it is known what must not be. */
  hasRoom(): boolean {
    return this.#own !== undefined && this.#open.size < this.#openMax;
  }

  refusal({ address, port, registrant }: ProbeTarget): string | undefined {
    if (isIP(address) === 0) return undefined;
    return refusalOf(this.#rule, this.parts.settings.onlyRegistrants, registrant, address, port, this.#own ?? []);
  }

  mayBegin({ address }: ProbeTarget): boolean {
    const nowMs = this.parts.clock.now();
    if (nowMs >= this.#windowEndsMs) {
      this.#begun.clear();
      this.#windowEndsMs = nowMs + PER_ADDRESS_WINDOW_MS;
    }
    const count = this.#begun.get(address) ?? 0;
    if (count >= PER_ADDRESS_MAX) return false;
    this.#begun.set(address, count + 1);
    return true;
  }

  trouble(): string | undefined {
    return this.#dead ?? this.#trouble;
  }

  /** Names the places that belong to the servers and their store. They are never probed. */
  setOwn(places: readonly OwnPlace[]): void {
    this.#own = places;
    this.#send({ kind: 'own', places });
  }

  probe(target: ProbeTarget): Promise<ProbeResult> {
    if (this.#isClosed) return Promise.resolve(inconclusive('the server stops'));
    if (this.#dead !== undefined) return Promise.resolve(inconclusive(this.#dead));
    this.#thread ??= this.#start();
    const id = this.#nextId++;
    // Orders of one turn of the event loop go together.
    if (this.#probes.push(id, this.#numberOf(target)) === 2) queueMicrotask(() => this.#flush());
    return new Promise((resolve) => this.#open.set(id, resolve));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const thread = this.#thread;
    this.#thread = undefined;
    this.#endAll('the server stops');
    await thread?.terminate();
  }

  #numberOf(target: ProbeTarget): number {
    let number = this.#numbers.get(target);
    if (number === undefined) {
      number = this.#nextNumber++;
      this.#numbers.set(target, number);
      this.#targets.set(number, target);
      this.#gone.register(target, number);
    }
    return number;
  }

  #flush(): void {
    const [probes, targets, forgotten] = [Float64Array.from(this.#probes), this.#targets, this.#forgotten];
    this.#probes = [];
    this.#targets = new Map();
    this.#forgotten = [];
    this.#send({ kind: 'probe', probes, targets, forgotten });
  }

  #send(message: ToThread): void {
    this.#thread?.postMessage(message);
  }

  #start(): Worker {
    const { settings, program = PROGRAM, log } = this.parts;
    const thread = new Worker(program, {
      workerData: settings,
      // Whatever the environment says about proxies or certificates, probes go straight to their targets.
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MB },
    });
    this.#numbers = new WeakMap(); // it knows no target yet
    thread.on('message', ({ results, errors, trouble }: FromThread) => {
      if (trouble !== this.#trouble)
        log.warn({ trouble }, trouble ? 'checks cannot be probed' : 'checks can be probed');
      this.#trouble = trouble;
      for (let i = 0; i < results.length; i += RESULT_NUMBERS) {
        const [id, outcome, latencyMs, endsMs] = results.subarray(i, i + RESULT_NUMBERS) as unknown as Numbers;
        const certificateEndsMs = Number.isNaN(endsMs) ? undefined : endsMs;
        this.#open.get(id)?.({ outcome, latencyMs, error: errors.get(id) ?? '', certificateEndsMs });
        this.#open.delete(id);
      }
    });
    thread.on('error', (err) => log.error({ err }, 'the thread of the prober failed'));
    thread.on('exit', () => this.#ended(thread));
    thread.postMessage({ kind: 'own', places: this.#own ?? [] } satisfies ToThread);
    return thread;
  }

  #ended(thread: Worker): void {
    if (this.#thread !== thread) return;
    this.#dead = 'the prober itself: its thread ended';
    this.#endAll(this.#dead);
    this.parts.clock.after(RESTART_MS, () => {
      if (this.#thread !== thread || this.#isClosed) return;
      this.#thread = this.#start();
      this.#dead = undefined;
      this.#trouble = undefined;
    });
  }

  #endAll(why: string): void {
    for (const resolve of this.#open.values()) resolve(inconclusive(why));
    this.#open.clear();
  }
}

type Numbers = [id: number, outcome: ProbeOutcome, latencyMs: number, endsMs: number];

const inconclusive = (error: string): ProbeResult => ({
  outcome: ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE,
  latencyMs: 0,
  error,
});

/** The number of files that this process may have open. */
function filesMax(): number {
  const [, found] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return found === undefined ? Infinity : Number(found);
}
