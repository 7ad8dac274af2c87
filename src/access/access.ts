import { hash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { Clock, Timer } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import { Listeners } from '../base/listeners.js';
import type { Telemetry } from '../base/telemetry.js';
import { ACCESS_FILE_BYTES_MAX, type AccessFile, BadAccessFile, readAccessFile } from './access-file.js';
import { type Credential, Identities } from './identities.js';
import { ALARMS, COUNTERS } from './instruments.js';
import type { Principal } from './principal.js';
import { Rules } from './rules.js';

/** How often the file is read again. */
const LOOK_MS = 5_000;
/** A changed file is read again after this, and counts if it is the same then: an editor may be writing it. */
const CONFIRM_MS = 1_000;
/** The bits of a file mode with which every user of the machine can read or write the file. */
const OTHERS = 0o006;
const HASH_CHARS = 16;

/** The dependencies of Access. */
export interface AccessParts {
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'log' | 'counters' | 'alarms'>;
  /** The path of the access file. */
  readonly path: string;
  /** How long the keys of an issuer count after they were read, in milliseconds. */
  readonly keysKeepMs: () => number;
}

/**
 * Who may do what, from one file. The file is read again and again. One that cannot be used changes nothing and raises an
 * alarm; only at the start it is fatal.
 */
export class Access implements Closeable {
  readonly #identities: Identities;
  readonly #listeners = new Listeners<[]>();
  #rules: Rules;
  /** The text of the file in force, and its short name: the member key asks for it every 3 s. */
  #content: string;
  #hash: string;
  /** A text that differs from it and was seen once, and one that cannot be used. */
  #candidate: string | undefined;
  #refused: { readonly content: string; readonly fault: string } | undefined;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  private constructor(
    private readonly parts: AccessParts,
    content: string,
  ) {
    this.#content = content;
    this.#hash = hashOf(content);
    this.#rules = this.#rulesOf(readAccessFile(parts.path, content), undefined);
    this.#identities = new Identities(parts, this.#rules);
    this.#warn();
    this.#lookIn(LOOK_MS);
  }

  /** Reads the file for the first time. Rejects with BadAccessFile. */
  static async open(parts: AccessParts): Promise<Access> {
    return new Access(parts, await contentOf(parts.path));
  }

  /** A short name for the text of the file in force: servers with equal files have equal names. */
  get hash(): string {
    return this.#hash;
  }

  /** The caller that a credential belongs to. It is a promise only for a JWT that was not seen before. Throws UNAUTHENTICATED. */
  identify(credential: Credential): Principal | Promise<Principal> {
    return this.#identities.identify(credential);
  }

  /** Calls `listener` when the rights or the identities of callers may have changed, until `signal` is aborted. */
  onChange(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener, signal);
  }

  /** Reads the file now. A changed one counts a second later. Calls while it is read share one reading. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      this.#lookIn(this.#candidate === undefined ? LOOK_MS : CONFIRM_MS);
    });
    return this.#looking;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#rules.close();
  }

  #lookIn(ms: number): void {
    this.#timer?.cancel();
    if (!this.#closed) this.#timer = this.parts.clock.after(ms, () => void this.look());
  }

  async #look(): Promise<void> {
    const { alarms } = this.parts.telemetry;
    try {
      const content = await contentOf(this.parts.path);
      if (content === this.#content) {
        [this.#candidate, this.#refused] = [undefined, undefined];
      } else if (content === this.#candidate) {
        this.#candidate = undefined;
        this.#take(content);
      } else if (content !== this.#refused?.content) {
        this.#candidate = content;
        return; // the next look decides
      }
      if (!this.#refused) return alarms.clear(ALARMS.ACCESS_NOT_RELOADED);
      throw new BadAccessFile(this.#refused.fault);
    } catch (error) {
      if (!(error instanceof BadAccessFile)) throw error;
      alarms.raise(ALARMS.ACCESS_NOT_RELOADED, `${error.message}; the rules before stay in force`);
    }
  }

  /** Takes over the text of a changed file. */
  #take(content: string): void {
    const { telemetry, path } = this.parts;
    let file: AccessFile;
    try {
      file = readAccessFile(path, content);
    } catch (error) {
      if (!(error instanceof BadAccessFile)) throw error;
      this.#refused = { content, fault: error.message };
      return;
    }
    const before = this.#rules;
    this.#rules = this.#rulesOf(file, before);
    [this.#content, this.#hash, this.#refused] = [content, hashOf(content), undefined];
    telemetry.counters.add(COUNTERS.access_reloads);
    telemetry.log.info({ path, hash: this.hash }, 'the access file has changed and is in force');
    this.#warn();
    this.#changed();
  }

  #rulesOf(file: AccessFile, before: Rules | undefined): Rules {
    const { clock, telemetry, keysKeepMs } = this.parts;
    return new Rules(file, before, { clock, log: telemetry.log, keepMs: keysKeepMs, onKeys: () => this.#changed() });
  }

  #changed(): void {
    const { alarms } = this.parts.telemetry;
    const stale = this.#rules.staleKeys();
    if (stale.length > 0) alarms.raise(ALARMS.JWKS_STALE, stale.join('; '));
    else alarms.clear(ALARMS.JWKS_STALE);
    this.#identities.renew(this.#rules);
    this.#listeners.call();
  }

  /** Warns of a file that can be used, but probably should not be. */
  #warn(): void {
    const { telemetry, path } = this.parts;
    if (!this.#rules.hasOperator)
      telemetry.log.warn({ path }, 'the access file gives no caller the action "operate" on everything');
    void stat(path).then(
      ({ mode }) => {
        if ((mode & OTHERS) !== 0) telemetry.log.warn({ path }, 'every user of this machine can read the access file');
      },
      () => undefined, // the next look reports it
    );
  }
}

const hashOf = (content: string): string => hash('sha256', content, 'hex').slice(0, HASH_CHARS);

async function contentOf(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > ACCESS_FILE_BYTES_MAX) throw new BadAccessFile(`${path}: has more than ${ACCESS_FILE_BYTES_MAX} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
  } catch (error) {
    if (error instanceof BadAccessFile) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8' : `cannot be read (${code})`;
    throw new BadAccessFile(`${path}: ${reason}`, { cause: error });
  }
}
