import { once } from 'node:events';
import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from 'etcd3';
import type { Clock, Timer } from '../../base/clock.js';
import type { Log } from '../../base/telemetry.js';
import { type Member, type Revision, StoreUnavailable, type Write } from '../store.js';
import type { Endpoints, Patience } from './endpoints.js';
import { EtcdFailure, failureOf } from './failures.js';
import type { KeySpace } from './keys.js';
import { CALL_PATIENCE, type Kv } from './kv.js';

/** A lease is renewed this often in its time: two renewals may fail. */
const RENEWALS_PER_TTL = 3;
/** A renewal that one endpoint does not answer is tried at the next before the following one is due. */
const RENEW_PATIENCE: Patience = { attemptMs: 1_000, withinMs: 2_000 };

/** What a member is made from. */
export interface MemberParts {
  readonly endpoints: Endpoints;
  readonly kv: Kv;
  readonly keys: KeySpace;
  readonly clock: Clock;
  readonly log: Log;
}

/** Joins: a key on a lease of its own, which is kept alive until it is left or lost. */
export async function joinMember(
  parts: MemberParts,
  key: string,
  value: Uint8Array,
  also: readonly Write[],
  leaseTtlS: number,
): Promise<EtcdMember> {
  const { endpoints, kv, keys } = parts;
  const { answer: lease } = await endpoints.call(
    (etcd, options) => etcd.leaseClient.leaseGrant({ TTL: leaseTtlS }, options),
    CALL_PATIENCE,
  );
  const create = {
    compare: [keys.compare({ key, modRevision: 0n })],
    success: [
      { request_put: { key: keys.key(key), value: Buffer.from(value), lease: lease.ID } },
      ...also.map((write) => keys.write(write)),
    ],
    failure: [keys.read(key)],
  };
  const { answer } = await kv.txn(create);
  let epoch = BigInt(answer.header.revision);
  if (!answer.succeeded) {
    // A lost reply: the key is there, and on our lease.
    const [standing] = answer.responses[0]!.response_range.kvs;
    if (!standing || standing.lease !== lease.ID) throw new StoreUnavailable(`the member key ${key} exists already`);
    epoch = BigInt(standing.create_revision);
  }
  return new EtcdMember(parts, key, epoch, lease.ID, leaseTtlS);
}

/** A key on a lease of etcd. */
export class EtcdMember implements Member {
  readonly #lost = new AbortController();
  readonly #renewing: Timer;

  constructor(
    private readonly parts: MemberParts,
    readonly key: string,
    readonly epoch: Revision,
    private readonly lease: string,
    leaseTtlS: number,
  ) {
    this.#renewing = parts.clock.every((leaseTtlS * 1_000) / RENEWALS_PER_TTL, () => void this.#renew());
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Puts with the lease that the key has: a put without it would take the key off its lease. */
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
      throw new StoreUnavailable((error as Error).message, { cause: error });
    }
  }

  async leave(): Promise<void> {
    this.stop();
    this.#lost.abort();
    try {
      await this.parts.endpoints.call(
        (etcd, options) => etcd.leaseClient.leaseRevoke({ ID: this.lease }, options),
        CALL_PATIENCE,
      );
    } catch (error) {
      if (failureOf(error).kind !== 'LEASE_GONE')
        throw new StoreUnavailable((error as Error).message, { cause: error });
    }
  }

  /** Renews the lease no longer; etcd removes the key when its time is over. */
  stop(): void {
    this.#renewing.cancel();
  }

  #lose(): void {
    this.stop();
    this.#lost.abort();
  }

  async #renew(): Promise<void> {
    try {
      const { answer } = await this.parts.endpoints.call(async (etcd, options) => {
        const stream = (await etcd.leaseClient.leaseKeepAlive(options)) as unknown as KeepAliveStream;
        try {
          stream.write({ ID: this.lease });
          const [response] = (await once(stream, 'data')) as [ILeaseKeepAliveResponse];
          return response;
        } finally {
          stream.on('error', () => undefined);
          stream.cancel();
        }
      }, RENEW_PATIENCE);
      if (answer.TTL === '0') this.#lose();
    } catch (error) {
      if (this.lost.aborted) return;
      const failure = failureOf(error);
      if (failure.kind === 'LEASE_GONE') this.#lose();
      else if (error instanceof EtcdFailure)
        this.parts.log.warn({ reason: failure.message }, 'the lease was not renewed');
    }
  }
}

/** What the client library's stream is. */
interface KeepAliveStream extends NodeJS.EventEmitter {
  write(request: ILeaseKeepAliveRequest): void;
  cancel(): void;
}
