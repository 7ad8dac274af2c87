import type { IWatchRequest, IWatchResponse } from 'etcd3';
import { decode } from '../sim/records.js';
import type { EtcdCluster } from './etcd.js';
import { eventually } from './server.js';

/** What stood at a key from a revision on; undefined: nothing. */
export interface Written {
  readonly revision: bigint;
  readonly value: Buffer | undefined;
}

interface RawWatch {
  on(event: 'data', listener: (response: IWatchResponse) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  write(request: IWatchRequest): void;
  cancel(): void;
}

/**
 * Everything that was ever written to etcd, seen over one direct stream that no test cuts: what the servers say is held
 * against this. It knows the records by the compiled protos alone.
 */
export class History {
  readonly keys = new Map<string, Written[]>();
  readonly #prefix: string;
  #revision = 0n;
  #error: Error | undefined;
  #stream: RawWatch | undefined;

  private constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Reads from the beginning, and goes on until it is closed. */
  static async open({ admin }: EtcdCluster, prefix = 'rollcall/'): Promise<History> {
    const history = new History(prefix);
    const stream = (await admin.watchClient.watch()) as unknown as RawWatch;
    history.#stream = stream;
    stream.on('error', (error) => (history.#error = error));
    stream.on('data', ({ events }) => {
      for (const { type, kv } of events) {
        const written = { revision: BigInt(kv.mod_revision), value: type === 'Put' ? kv.value : undefined };
        const name = kv.key.toString('utf8').slice(history.#prefix.length);
        const states = history.keys.get(name);
        if (states) states.push(written);
        else history.keys.set(name, [written]);
        history.#revision = written.revision;
      }
    });
    const end = `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`;
    stream.write({
      create_request: { key: Buffer.from(prefix), range_end: Buffer.from(end), start_revision: '1' },
    });
    return history;
  }

  /** Waits until everything up to a revision has been seen. */
  async reached(revision: bigint): Promise<void> {
    await eventually(() => this.#error ?? this.#revision >= revision);
    if (this.#error) throw this.#error;
  }

  /** What stood at a key at a revision. */
  at(key: string, revision: bigint): Written | undefined {
    return this.keys.get(key)?.findLast((state) => state.revision <= revision);
  }

  /** The instances that a default watch of a service shows at a revision: id and revision that users see. */
  shownAt(namespace: string, service: string, revision: bigint): Map<string, bigint> {
    const shown = new Map<string, bigint>();
    const prefix = `w/i/${namespace}/${service}/`;
    for (const key of this.keys.keys()) {
      if (!key.startsWith(prefix)) continue;
      const state = this.at(key, revision);
      if (!state?.value) continue;
      const record = readInstance(state.value);
      if (record.tombstone || record.silent) continue;
      shown.set(key.slice(prefix.length), record.visibleRevision || state.revision);
    }
    return shown;
  }

  close(): void {
    this.#stream?.cancel();
  }
}

/** What a test looks at in an instance record. */
export interface InstanceState {
  readonly silent: boolean;
  readonly visibleRevision: bigint;
  readonly tombstone?: { readonly reason: number };
  readonly instance: { readonly incarnation: string; readonly version: string };
}

export function readInstance(value: Buffer): InstanceState {
  return decode('rollcall.storage.v1.InstanceRecord', value) as unknown as InstanceState;
}

/** What a test looks at in a config record. */
export interface ConfigState {
  readonly config: { readonly version: bigint; readonly comment: string; readonly deleted: boolean };
}

export function readConfig(value: Buffer): ConfigState {
  return decode('rollcall.storage.v1.ConfigRecord', value) as unknown as ConfigState;
}
