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
import type { FromThread, ProbeOrder, ProberSettings, ToThread } from './protocol.js';

/** The built program of the thread: loaders of sources do not reach into threads. */
const PROGRAM = new URL('thread.js', import.meta.url);
/** The memory of the thread: open probes, and the certificates of their connections. */
const THREAD_MEMORY_MB = 256;
/** The wait before a thread that died is replaced. */
const RESTART_MS = 1_000;
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
  #orders: ProbeOrder[] = [];
  #nextId = 1;
  #thread: Worker | undefined;
  #trouble: string | undefined;
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

  trouble(): string | undefined {
    return this.#trouble;
  }

  /** Names the places that belong to the servers and their store. They are never probed. */
  setOwn(places: readonly OwnPlace[]): void {
    this.#own = places;
    this.#send({ kind: 'own', places });
  }

  probe(target: ProbeTarget): Promise<ProbeResult> {
    if (this.#isClosed) return Promise.resolve(inconclusive('the server stops'));
    this.#thread ??= this.#start();
    const id = this.#nextId++;
    // Orders of one turn of the event loop go together.
    if (this.#orders.push({ id, target }) === 1) queueMicrotask(() => this.#flush());
    return new Promise((resolve) => this.#open.set(id, resolve));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const thread = this.#thread;
    this.#thread = undefined;
    this.#endAll('the server stops');
    await thread?.terminate();
  }

  #flush(): void {
    const orders = this.#orders;
    this.#orders = [];
    this.#send({ kind: 'probe', orders });
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
    thread.on('message', ({ reports, trouble }: FromThread) => {
      if (trouble !== this.#trouble)
        log.warn({ trouble }, trouble ? 'checks cannot be probed' : 'checks can be probed');
      this.#trouble = trouble;
      for (const { id, ...result } of reports) {
        this.#open.get(id)?.(result);
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
    this.#trouble = 'the prober itself: its thread ended';
    this.#endAll(this.#trouble);
    this.parts.clock.after(RESTART_MS, () => {
      if (this.#thread !== thread || this.#isClosed) return;
      this.#thread = this.#start();
      this.#trouble = undefined;
    });
  }

  #endAll(why: string): void {
    for (const resolve of this.#open.values()) resolve(inconclusive(why));
    this.#open.clear();
  }
}

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
