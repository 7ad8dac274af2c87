import { readFile } from 'node:fs/promises';
import type { Clock, Timer } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import { Listeners } from '../base/listeners.js';
import type { Telemetry } from '../base/telemetry.js';
import type { TlsContents, TlsSource } from '../base/tls-source.js';
import { ALARMS } from './instruments.js';
import { contentsOf, faultOf, notAfterMs, type PemFile, type PemFiles, type PemPart } from './pem.js';

/** How often the files are read again. A certificate that was replaced is in use after this time. */
const LOOK_MS = 10_000;
/** How long before the end of a certificate the alarm is raised. */
const EXPIRY_ALARM_MS = 14 * 24 * 3_600_000;

/** The uses of TLS: towards clients and peers as a server, towards peers as a client, towards etcd. */
export type TlsUse = 'server' | 'peers' | 'etcd';

/** The dependencies of TlsFiles. */
export interface TlsFilesParts {
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'log' | 'alarms'>;
  /** Files that can be used. */
  readonly uses: Readonly<Partial<Record<TlsUse, PemFiles>>>;
}

/** One use: the files in force, and why those on disk are not. */
class Use implements TlsSource {
  readonly #listeners = new Listeners<[]>();
  fault: string | undefined;

  constructor(
    readonly name: TlsUse,
    public files: PemFiles,
  ) {}

  contents(): TlsContents {
    return contentsOf(this.files);
  }

  onChange(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener, signal);
  }

  replace(files: PemFiles): void {
    this.files = files;
    this.#listeners.call();
  }
}

/**
 * The files of TLS, read again and again: certificates are renewed while a server runs. Files that do not fit together are
 * not used, as two files cannot be replaced at once: those before them stay, with an alarm.
 */
export class TlsFiles implements Closeable {
  readonly #uses: ReadonlyMap<TlsUse, Use>;
  readonly #timer: Timer;
  #looking: Promise<void> | undefined;

  constructor(private readonly parts: TlsFilesParts) {
    const given = Object.entries(parts.uses) as [TlsUse, PemFiles][];
    this.#uses = new Map(given.map(([name, files]) => [name, new Use(name, files)]));
    this.#timer = parts.clock.every(LOOK_MS, () => void this.look());
    this.#checkExpiry();
  }

  /** The files of a use; `undefined` if the settings name none. */
  of(use: TlsUse): TlsSource | undefined {
    return this.#uses.get(use);
  }

  /** The ends of the own certificates, in milliseconds of the wall clock. One that has several uses is named once. */
  ends(): { readonly use: TlsUse; readonly notAfterMs: number }[] {
    const paths = new Set<string>();
    return [...this.#uses.values()].flatMap(({ name, files: { cert } }) => {
      if (!cert || paths.has(cert.path)) return [];
      paths.add(cert.path);
      return [{ use: name, notAfterMs: notAfterMs(cert) }];
    });
  }

  /** Reads the files now. Calls while they are read share one reading. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  close(): void {
    this.#timer.cancel();
  }

  async #look(): Promise<void> {
    const { alarms } = this.parts.telemetry;
    await Promise.all([...this.#uses.values()].map((use) => this.#lookAt(use)));
    const faults = [...this.#uses.values()].flatMap(({ fault }) => fault ?? []);
    if (faults.length > 0) alarms.raise(ALARMS.TLS_NOT_RELOADED, `${faults.join('; ')}; the files before stay in use`);
    else alarms.clear(ALARMS.TLS_NOT_RELOADED);
    this.#checkExpiry();
  }

  async #lookAt(use: Use): Promise<void> {
    const given = Object.entries(use.files) as [PemPart, PemFile][];
    const read = await Promise.all(given.map(async ([part, { path }]) => [part, await readAgain(part, path)])).catch(
      (error: Error) => error,
    );
    if (read instanceof Error) {
      use.fault = read.message;
      return;
    }
    const files = Object.fromEntries(read) as PemFiles;
    const isSame = given.every(([part, { content }]) => files[part]!.content.equals(content));
    const fault = isSame ? undefined : faultOf(files);
    use.fault = fault && `${nameOf(fault.part, files[fault.part]!.path)} ${fault.rule}`;
    if (isSame || fault) return;
    use.replace(files);
    this.parts.telemetry.log.info({ use: use.name }, 'TLS uses changed files');
  }

  #checkExpiry(): void {
    const { clock, telemetry } = this.parts;
    const soon = this.ends().filter((end) => end.notAfterMs - clock.wall() < EXPIRY_ALARM_MS);
    if (soon.length === 0) return telemetry.alarms.clear(ALARMS.CERTIFICATE_EXPIRES);
    const texts = soon.map(
      ({ use, notAfterMs: ms }) => `the certificate of "${use}" is valid until ${new Date(ms).toISOString()}`,
    );
    telemetry.alarms.raise(ALARMS.CERTIFICATE_EXPIRES, texts.join('; '));
  }
}

/** A file in a text that every client can read. The path of a key may be a secret given by mistake. */
const nameOf = (part: PemPart, path: string): string => (part === 'key' ? 'the private key' : path);

async function readAgain(part: PemPart, path: string): Promise<PemFile> {
  try {
    return { path, content: await readFile(path) };
  } catch (error) {
    throw new Error(`${nameOf(part, path)} cannot be read (${(error as NodeJS.ErrnoException).code})`, {
      cause: error,
    });
  }
}
