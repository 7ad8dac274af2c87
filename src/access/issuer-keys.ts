import { readFile } from 'node:fs/promises';
import { get as getHttp } from 'node:http';
import { get as getHttps } from 'node:https';
import { calculateJwkThumbprint, createLocalJWKSet, type JSONWebKeySet, type LocalJWKSet } from 'jose';
import type { Clock, Timer } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { Log } from '../base/telemetry.js';
import type { IssuerEntry } from './access-file.js';

/** How often keys are read from a URL. Issuers publish a new key hours before they use it. */
const URL_EVERY_MS = 10 * 60_000;
/** How often keys are read from a file. */
const FILE_EVERY_MS = 10_000;
/** How often keys are read again that could not be read, or because a token names a key that is not among them. */
const AGAIN_MS = 30_000;
/** How long an answer of a URL may take, and how large keys may be. */
const FETCH_MAX_MS = 5_000;
const KEYS_BYTES_MAX = 1_024 * 1_024;
/** Keys from a URL are stale once they are this old: a second attempt has failed, too. */
const STALE_MS = 2 * URL_EVERY_MS;

/** The keys of an issuer, as they were read at one time. */
export interface KeySet {
  readonly find: LocalJWKSet;
  /** The thumbprints of the keys. */
  readonly thumbprints: ReadonlySet<string>;
}

/** The dependencies of IssuerKeys. */
export interface IssuerKeysParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly keys: IssuerEntry['keys'];
  /** How long keys count after they were read, in milliseconds: the issuer may be away for as long. */
  readonly keepMs: () => number;
  /** Called when other keys are in use, or when the keys have become stale or fresh. */
  readonly onChange: () => void;
}

/** The keys of an issuer of JWTs, read again and again. An issuer that is away refuses no caller: its last keys count on. */
export class IssuerKeys implements Closeable {
  #set: KeySet | undefined;
  #text = '';
  #readMs = -Infinity;
  #triedMs = -Infinity;
  #fault: string | undefined;
  #timer: Timer | undefined;
  #reading: Promise<void> | undefined;
  #closed = false;

  constructor(private readonly parts: IssuerKeysParts) {}

  /** The keys that count now; `undefined` if none have been read, or if they are too old. */
  get current(): KeySet | undefined {
    return this.parts.clock.now() - this.#readMs <= this.parts.keepMs() ? this.#set : undefined;
  }

  /** Why the keys are stale; `undefined` if they are not. */
  get staleness(): string | undefined {
    if (this.#fault === undefined) return undefined;
    const isOld = 'file' in this.parts.keys || this.parts.clock.now() - this.#readMs > STALE_MS;
    return !this.#set || isOld ? this.#fault : undefined;
  }

  start(): void {
    void this.read();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Reads the keys now. Calls meanwhile share one reading. */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
      const { clock, keys } = this.parts;
      const everyMs = 'file' in keys ? FILE_EVERY_MS : this.#fault === undefined ? URL_EVERY_MS : AGAIN_MS;
      this.#timer?.cancel();
      if (!this.#closed) this.#timer = clock.after(everyMs, () => void this.read());
    });
    return this.#reading;
  }

  /** Reads the keys because a token names one that is not among them, unless they were read a moment ago. */
  async readForUnknownKey(): Promise<void> {
    if (this.#reading || this.parts.clock.now() - this.#triedMs >= AGAIN_MS) await this.read();
  }

  async #read(): Promise<void> {
    const { clock, log, keys, onChange } = this.parts;
    const wasStale = this.staleness !== undefined;
    this.#triedMs = clock.now();
    try {
      const text = 'file' in keys ? await readFile(keys.file, 'utf8') : await fetched(keys.url, keys.ca);
      const before = text === this.#text ? this.#set : undefined;
      const set = before ?? (await keySetOf(text));
      const isSame = before !== undefined;
      [this.#set, this.#text, this.#readMs, this.#fault] = [set, text, clock.now(), undefined];
      if (!isSame) log.info({ ...keys, count: set.thumbprints.size }, 'keys of an issuer were read');
      if (!isSame || wasStale) onChange();
    } catch (error) {
      const { message } = error as Error;
      const fault = `${'file' in keys ? keys.file : keys.url}: ${message}`;
      if (this.#fault !== fault) log.warn({ ...keys, reason: message }, 'keys of an issuer cannot be read');
      this.#fault = fault;
      onChange();
    }
  }
}

async function keySetOf(text: string): Promise<KeySet> {
  let jwks: JSONWebKeySet;
  try {
    jwks = JSON.parse(text) as JSONWebKeySet;
  } catch {
    throw new Error('is not JSON');
  }
  if (!Array.isArray(jwks?.keys) || jwks.keys.length === 0) throw new Error('is no set of keys: it has no "keys"');
  // Keys that cannot verify signatures may be among them.
  const usable = jwks.keys.filter(({ kty }) => kty === 'RSA' || kty === 'EC' || kty === 'OKP');
  if (usable.length === 0) throw new Error('has no key of type RSA, EC or OKP');
  const thumbprints = await Promise.all(usable.map((key) => calculateJwkThumbprint(key)));
  return { find: createLocalJWKSet({ keys: usable }), thumbprints: new Set(thumbprints) };
}

/** The body of a URL that answers with 200. Redirects are not followed. */
async function fetched(url: string, caPath: string | undefined): Promise<string> {
  const ca = caPath === undefined ? undefined : await readFile(caPath);
  const signal = AbortSignal.timeout(FETCH_MAX_MS);
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => reject(new Error(reason));
    const get = url.startsWith('https:') ? getHttps : getHttp;
    const request = get(url, { ca, signal, agent: false, headers: { accept: 'application/json' } }, (response) => {
      if (response.statusCode !== 200) {
        response.resume();
        return fail(`answers with status ${response.statusCode}`);
      }
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > KEYS_BYTES_MAX) request.destroy(new Error(`has more than ${KEYS_BYTES_MAX} bytes`));
      });
      response.on('end', () => resolve(Buffer.concat(chunks).toString()));
      response.on('error', (error: NodeJS.ErrnoException) => fail(reasonOf(error)));
    });
    request.on('error', (error: NodeJS.ErrnoException) => fail(reasonOf(error)));
  });
}

const reasonOf = (error: NodeJS.ErrnoException): string =>
  error.name === 'TimeoutError' || error.name === 'AbortError'
    ? `does not answer within ${FETCH_MAX_MS / 1_000} s`
    : `cannot be reached (${error.code ?? error.message})`;
