import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '../../../base/clock.js';
import type { Closeable } from '../../../base/lifecycle.js';
import type { CounterBoard, Log } from '../../../base/telemetry.js';
import { ConfigFormat } from '../../../gen/rollcall/v1/config.js';
import { RollcallError } from '../../../model/errors.js';
import { LIMITS } from '../../../model/limits.js';
import type { Inspection } from '../inspect.js';
import { COUNTERS } from '../instruments.js';
import { type FormattedText, inspectAll, type Inspector } from './inspector.js';

/** Texts of one request up to this size are parsed at once: 16 ms in a process that has parsed none yet, 2 ms later. Others go to the thread. */
const INLINE_BYTES_MAX = 4_096;
/** How long the texts of one request may take: several times what the largest ordinary texts take on a busy machine. */
const INSPECTION_MAX_MS = 5_000;
/** The memory of the thread. The parsers need up to a hundred times the size of a text. */
const THREAD_MEMORY_MB = 512;

/** A text that makes the thread load and warm up its parsers. */
const WARM_UP: readonly FormattedText[] = [
  { format: ConfigFormat.CONFIG_FORMAT_YAML, text: 'a: [1, "b"]\n' },
  { format: ConfigFormat.CONFIG_FORMAT_JSON, text: '{"a":[1,"b"]}' },
  { format: ConfigFormat.CONFIG_FORMAT_TOML, text: 'a = [1, 2]\n' },
];

/** A request that waits for the thread, or is in it. */
interface Job {
  readonly texts: readonly FormattedText[];
  readonly bytes: number;
  resolve(inspections: readonly Inspection[]): void;
  reject(error: Error): void;
}

/** The dependencies of a ThreadInspector. */
export interface ThreadInspectorParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: CounterBoard;
  /** The program of the thread. Default: thread.ts, as it was built. */
  readonly program?: URL;
}

/** The built program of the thread: loaders of sources do not reach into threads. */
const PROGRAM = new URL('thread.js', import.meta.url);

/**
 * Parses large texts in one warm thread, request after request, so that no publish delays a heartbeat. A thread that takes
 * too long, or that dies, is replaced; only the request that was in it fails.
 */
export class ThreadInspector implements Inspector, Closeable {
  /** The first one is in the thread. */
  readonly #jobs: Job[] = [];
  #bytes = 0;
  #isClosed = false;
  #timer: Timer | undefined;
  #thread: Worker | undefined;

  constructor(private readonly parts: ThreadInspectorParts) {}

  /** Starts the thread. */
  start(): void {
    void this.#enqueue(WARM_UP, 0).catch(() => undefined);
  }

  async close(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const job of this.#jobs.splice(0)) job.reject(shuttingDown());
    await thread?.terminate();
  }

  async inspect(texts: readonly FormattedText[], signal: AbortSignal): Promise<readonly Inspection[]> {
    if (this.#isClosed) throw shuttingDown();
    const bytes = texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
    if (bytes <= INLINE_BYTES_MAX) return inspectAll(texts);
    const { PARSED_REQUESTS, PARSED_BYTES } = LIMITS;
    if (this.#jobs.length >= PARSED_REQUESTS.value || this.#bytes + bytes > PARSED_BYTES.value) throw this.#busy();
    const inspections = await this.#enqueue(texts, bytes, signal);
    // The one in the thread is not interrupted, but nothing follows from it any more.
    if (signal.aborted) throw gone();
    return inspections;
  }

  #enqueue(texts: readonly FormattedText[], bytes: number, signal?: AbortSignal): Promise<readonly Inspection[]> {
    return new Promise((resolve, reject) => {
      const job = { texts, bytes, resolve, reject };
      this.#jobs.push(job);
      this.#bytes += bytes;
      signal?.addEventListener('abort', () => this.#drop(job), { once: true });
      if (this.#jobs.length === 1) this.#send();
    });
  }

  /** Takes out a job that waits for the thread. */
  #drop(job: Job): void {
    const place = this.#jobs.indexOf(job);
    if (place <= 0) return;
    this.#jobs.splice(place, 1);
    this.#bytes -= job.bytes;
    job.reject(gone());
  }

  #busy(): RollcallError {
    this.parts.counters.add(COUNTERS.inspections_refused);
    const message = `${this.#jobs.length} other requests wait until their configs are parsed; try again`;
    return new RollcallError('VALIDATOR_BUSY', message);
  }

  /** Hands the first job to the thread. */
  #send(): void {
    const thread = (this.#thread ??= this.#begin());
    this.#timer = this.parts.clock.after(INSPECTION_MAX_MS, () => this.#replace(tooCostly()));
    thread.ref();
    thread.postMessage(this.#jobs[0]!.texts);
  }

  #begin(): Worker {
    const thread = new Worker(this.parts.program ?? PROGRAM, {
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MB },
    });
    thread.on('message', (inspections: readonly Inspection[]) => {
      if (thread === this.#thread) this.#done((job) => job.resolve(inspections));
    });
    thread.on('error', (error: NodeJS.ErrnoException) => {
      if (thread === this.#thread) this.#replace(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? tooCostly() : died(error));
    });
    thread.on('exit', () => {
      if (thread === this.#thread) this.#replace(died());
    });
    return thread;
  }

  /** Gives up the thread with the request that is in it, and goes on with the next one in a new thread. */
  #replace(error: Error): void {
    const thread = this.#thread;
    this.#thread = undefined;
    void thread?.terminate();
    const [job] = this.#jobs;
    if (!job) return; // it died idle; the next request starts another one
    this.parts.counters.add(COUNTERS.inspections_given_up);
    this.parts.log.warn({ reason: error.message, bytes: job.bytes }, 'parsing the configs of a request was given up');
    this.#done(() => job.reject(error));
  }

  /** Settles the first job, and sends the next one. */
  #done(settle: (job: Job) => void): void {
    this.#timer?.cancel();
    const job = this.#jobs.shift();
    if (!job) return;
    this.#bytes -= job.bytes;
    settle(job);
    if (this.#jobs.length > 0) this.#send();
    else this.#thread?.unref(); // an idle thread keeps no process alive
  }
}

function shuttingDown(): RollcallError {
  return new RollcallError('SHUTTING_DOWN', 'the server is shutting down');
}

function gone(): RollcallError {
  return new RollcallError('TIMED_OUT', 'the call ended before its configs were parsed; nothing was written');
}

function tooCostly(): RollcallError {
  const message = 'parsing the configs takes too much time or memory; nothing was written';
  return new RollcallError('VALIDATION_TOO_COSTLY', message);
}

/** A bug, or a broken installation: the caller gets INTERNAL. */
function died(cause?: Error): Error {
  return new Error('the thread that parses configs ended', { cause });
}
