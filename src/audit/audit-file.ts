import { close, open, write } from 'node:fs';
import { promisify } from 'node:util';
import type { Clock } from '../base/clock.js';
import { delay, settledWithin } from '../base/clock.js';
import type { Telemetry } from '../base/telemetry.js';
import type { AuditSink } from './audit.js';
import { ALARMS, COUNTERS } from './instruments.js';

/** Lines that wait to be written: those of a disk that is slow for a moment. Beyond it lines are lost, and no call waits. */
const WAITING_MAX = 10_000;
/** The most lines that are written at once. */
const WRITTEN_AT_ONCE = 1_000;
/** How long the oldest line may wait before the file counts as failing: a disk that hangs reports no error. */
const STUCK_MS = 5_000;
/** How often a failed write is tried again. */
const AGAIN_MS = 1_000;
/** How long the end of the process waits for the last lines. */
const CLOSE_MAX_MS = 2_000;
/** Only the user of the server may read the file: it has the names and the addresses of callers. */
const MODE = 0o600;

const openFile = promisify(open);
const closeFile = promisify(close);
const writeTo = promisify(write);

/** The dependencies of AuditFile. */
export interface AuditFileParts {
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'counters' | 'alarms'>;
  /** The path of a file, to which lines are appended; "stderr" is standard error. */
  readonly path: string;
}

/** The lines of the audit in a file. They are written one after another in the background, and no call waits for them. */
export class AuditFile implements AuditSink {
  #waiting: Buffer[] = [];
  /** The bytes of the first line that are in the file already: the disk became full within it. */
  #cut = 0;
  #file: number | undefined;
  #writing: Promise<void> | undefined;
  #sinceMs = 0;
  #fault: string | undefined;
  #reopens = false;
  readonly #closed = new AbortController();

  private constructor(private readonly parts: AuditFileParts) {}

  /** Opens the file. Rejects if it cannot be opened. */
  static async open(parts: AuditFileParts): Promise<AuditFile> {
    const file = new AuditFile(parts);
    await file.#open();
    return file;
  }

  get isFailing(): boolean {
    const isStuck = this.#waiting.length > 0 && this.parts.clock.now() - this.#sinceMs > STUCK_MS;
    return this.#fault !== undefined || isStuck;
  }

  write(line: string): void {
    const { clock, telemetry } = this.parts;
    if (this.#waiting.length >= WAITING_MAX) {
      telemetry.counters.add(COUNTERS.audit_lines_lost);
      return this.#failed('the file takes lines too slowly');
    }
    if (this.#waiting.length === 0) this.#sinceMs = clock.now();
    else if (clock.now() - this.#sinceMs > STUCK_MS) this.#failed(`it has taken no line for ${STUCK_MS / 1_000} s`);
    this.#waiting.push(Buffer.from(line));
    this.#begin();
  }

  reopen(): void {
    this.#reopens = true;
    this.#begin();
  }

  async close(): Promise<void> {
    if (this.#writing) await settledWithin(this.parts.clock, CLOSE_MAX_MS, this.#writing);
    this.#closed.abort();
    this.parts.telemetry.counters.add(COUNTERS.audit_lines_lost, this.#waiting.length);
    await this.#closeFile();
  }

  /** Writes what waits in the background, unless it is being written already. */
  #begin(): void {
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined));
  }

  async #writeAll(): Promise<void> {
    while ((this.#waiting.length > 0 || this.#reopens) && !this.#closed.signal.aborted) {
      try {
        if (this.#reopens) await this.#closeFile();
        this.#reopens = false;
        await this.#open();
        const lines = this.#waiting.slice(0, WRITTEN_AT_ONCE);
        if (lines.length > 0) await this.#writeLines(lines);
        this.#fault = undefined;
        this.parts.telemetry.alarms.clear(ALARMS.AUDIT_LOST);
      } catch (error) {
        this.#failed((error as NodeJS.ErrnoException).code ?? (error as Error).message);
        await delay(this.parts.clock, AGAIN_MS, this.#closed.signal);
      }
    }
  }

  /** Writes lines, and takes those that are written whole out of the waiting ones. The rest of a cut one stays first. */
  async #writeLines(lines: readonly Buffer[]): Promise<void> {
    const { bytesWritten } = await writeTo(this.#file!, Buffer.concat(lines).subarray(this.#cut));
    let left = bytesWritten + this.#cut;
    let whole = 0;
    while (whole < lines.length && lines[whole]!.length <= left) left -= lines[whole++]!.length;
    this.#waiting.splice(0, whole);
    this.#cut = left;
    this.#sinceMs = this.parts.clock.now();
  }

  #failed(reason: string): void {
    this.#fault = reason;
    const { alarms } = this.parts.telemetry;
    alarms.raise(ALARMS.AUDIT_LOST, `${this.parts.path}: ${reason}; ${this.#waiting.length} lines wait to be written`);
  }

  async #open(): Promise<void> {
    const { path } = this.parts;
    this.#file ??= path === 'stderr' ? STDERR : await openFile(path, 'a', MODE);
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#cut = 0; // the next file begins with a whole line
    if (file !== undefined && file !== STDERR) await closeFile(file).catch(() => undefined);
  }
}

/** The descriptor of standard error. */
const STDERR = 2;
