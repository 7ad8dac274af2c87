import { once } from 'node:events';
import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from 'etcd3';
import type { Clock, Timer } from '../../base/clock.js';
import type { Log } from '../../base/telemetry.js';
import { type Member, type Revision, StoreUnavailable, type Write } from '../store.js';
import type { Endpoints, Timeouts } from './endpoints.js';
import { EtcdFailure, failureOf } from './failures.js';
import type { KeySpace } from './keys.js';
import { CALL_TIMEOUTS, type Kv } from './kv.js';

/** How often a lease is renewed within its time to live: two renewals may fail. */
const RENEWALS_PER_TTL = 3;
/** The timeouts of a renewal. If one endpoint does not answer, another one is tried before the next renewal is due. */
const RENEW_TIMEOUTS: Timeouts = { attemptMs: 1_000, totalMs: 2_000 };

/** The dependencies of a join. */
export interface JoinParts {
  readonly endpoints: Endpoints;
  readonly kv: Kv;
  readonly keys: KeySpace;
  readonly clock: Clock;
  readonly log: Log;
  /** The time to live of the lease, in seconds as etcd counts it. */
  readonly leaseTtlS: number;
}

/** The dependencies of an EtcdMember, and its identity. */
export interface EtcdMemberParts extends JoinParts {
  readonly key: string;
  readonly epoch: Revision;
  readonly leaseId: string;
}

/** Joins: creates the key on a lease of its own. The lease is kept alive until the member leaves or loses the key. */
export async function joinMember(
  parts: JoinParts,
  key: string,
  value: Uint8Array,
  also: readonly Write[],
): Promise<EtcdMember> {
  const { endpoints, kv, keys, leaseTtlS } = parts;
  const { answer: lease } = await endpoints.call(
    (etcd, options) => etcd.leaseClient.leaseGrant({ TTL: leaseTtlS }, options),
    CALL_TIMEOUTS,
  );
  const { answer } = await kv.txn({
    compare: [keys.compare({ key, modRevision: 0n })],
    success: [
      { request_put: { key: keys.key(key), value: Buffer.from(value), lease: lease.ID } },
      ...also.map((write) => keys.write(write)),
    ],
    failure: [keys.read(key)],
  });
  let epoch = BigInt(answer.header.revision);
  if (!answer.succeeded) {
    // After a lost reply the key exists, and is on the lease of this member.
    const [existing] = answer.responses[0]!.response_range.kvs;
    if (!existing || existing.lease !== lease.ID) throw new StoreUnavailable(`the member key ${key} exists already`);
    epoch = BigInt(existing.create_revision);
  }
  return new EtcdMember({ ...parts, key, epoch, leaseId: lease.ID });
}

/** A member key on a lease of etcd. */
export class EtcdMember implements Member {
  readonly key: string;
  readonly epoch: Revision;
  readonly #lost = new AbortController();
  readonly #renewals: Timer;

  constructor(private readonly parts: EtcdMemberParts) {
    this.key = parts.key;
    this.epoch = parts.epoch;
    this.#renewals = parts.clock.every((parts.leaseTtlS * 1_000) / RENEWALS_PER_TTL, () => void this.#renew());
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Rewrites the key with `ignore_lease`: a put without it would detach the key from its lease. */
  async rewrite(value: Uint8Array): Promise<boolean> {
    const { kv, keys } = this.parts;
    try {
      const { answer } = await kv.txn({
        compare: [keys.compare({ key: this.key, createRevision: this.epoch })],
        success: [{ request_put: { key: keys.key(this.key), value: Buffer.from(value), ignore_lease: true } }],
      });
      if (!answer.succeeded) this.#lose();
      return answer.succeeded;
    } catch (error) {
      throw unavailable(error);
    }
  }

  async leave(): Promise<void> {
    this.#lose();
    try {
      await this.parts.endpoints.call(
        (etcd, options) => etcd.leaseClient.leaseRevoke({ ID: this.parts.leaseId }, options),
        CALL_TIMEOUTS,
      );
    } catch (error) {
      if (failureOf(error).kind !== 'LEASE_GONE') throw unavailable(error);
    }
  }

  /** Stops renewing the lease. etcd deletes the key when the lease expires. */
  stop(): void {
    this.#renewals.cancel();
  }

  #lose(): void {
    this.stop();
    this.#lost.abort();
  }

  async #renew(): Promise<void> {
    try {
      const { answer } = await this.parts.endpoints.call(
        async (etcd, options) =>
          renewOnce((await etcd.leaseClient.leaseKeepAlive(options)) as unknown as KeepAliveStream, this.parts.leaseId),
        RENEW_TIMEOUTS,
      );
      if (answer.TTL === '0') this.#lose();
    } catch (error) {
      if (this.lost.aborted) return;
      const failure = failureOf(error);
      if (failure.kind === 'LEASE_GONE') this.#lose();
      else if (error instanceof EtcdFailure)
        this.parts.log.warn({ reason: failure.message }, 'the lease of this member was not renewed; retrying');
    }
  }
}

/** Renews a lease once over a new stream, and ends the stream. */
async function renewOnce(stream: KeepAliveStream, leaseId: string): Promise<ILeaseKeepAliveResponse> {
  try {
    stream.write({ ID: leaseId });
    const [response] = (await once(stream, 'data')) as [ILeaseKeepAliveResponse];
    return response;
  } finally {
    stream.on('error', () => undefined);
    stream.cancel();
  }
}

const unavailable = (error: unknown): StoreUnavailable =>
  new StoreUnavailable((error as Error).message, { cause: error });

/** The part of the client library's stream that its types leave out. */
interface KeepAliveStream extends NodeJS.EventEmitter {
  write(request: ILeaseKeepAliveRequest): void;
  cancel(): void;
}
