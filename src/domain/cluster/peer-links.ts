import { type Clock, delay } from '../../base/clock.js';
import type { Log } from '../../base/telemetry.js';
import type { Answer, HeardNote, Query } from '../health/liveness-table.js';
import type { Juror, MemberRef, PeerConnector, PeerLink } from '../health/peers.js';
import { LIMITS } from '../../model/limits.js';
import type { MemberItem } from '../../model/member.js';
import type { Propagation } from './propagation.js';

/** A peer that does not answer within this counts as unreachable: there is no verdict, and it is asked again. */
const ANSWER_MAX_MS = 1_000;

/** The connection to one membership. */
interface PeerConnection {
  readonly ref: MemberRef;
  readonly address: string;
  readonly link: PeerLink;
  /** True if the last question was not answered. */
  failing: boolean;
}

/** The dependencies of PeerLinks. */
export interface PeerLinksParts {
  /** The id of this process. */
  readonly id: string;
  readonly connect: PeerConnector;
  readonly clock: Clock;
  readonly log: Log;
  readonly propagation: Propagation;
}

/** The connections to the other members, each kept as long as its membership. */
export class PeerLinks {
  readonly #links = new Map<string, PeerConnection>();

  constructor(private readonly parts: PeerLinksParts) {}

  /** The connection to a membership, with a bound on every answer. */
  to({ name: id, epoch, record }: MemberItem): Juror {
    let known = this.#links.get(id);
    if (known?.ref.epoch !== epoch) {
      known?.link.close();
      const { address } = record;
      known = { ref: { id, epoch }, address, link: this.parts.connect({ id, epoch, address }), failing: false };
      this.#links.set(id, known);
    }
    const peer = known;
    return {
      node: record.node,
      canProbe: !record.probesNothing,
      lastHeard: (queries: readonly Query[], promise: boolean): Promise<readonly Answer[]> =>
        this.#asked(peer, peer.link.lastHeard(queries, promise)),
      // It takes as long as the probe, so it says nothing about whether the member answers in time.
      probe: (queries, timeoutMs) =>
        inTime(this.parts.clock, timeoutMs + ANSWER_MAX_MS, peer.link.probe(queries, timeoutMs)),
    };
  }

  /** Closes the connection to a member that has left. */
  drop(id: string): void {
    this.#links.get(id)?.link.close();
    this.#links.delete(id);
  }

  /** Ids of the members that did not answer the last question. */
  unreachable(): string[] {
    return [...this.#links.values()].filter(({ failing }) => failing).map(({ ref }) => ref.id);
  }

  /** Asks every other member whether the store works for it. Resolves true if one says so. Notes the unreachable ones. */
  async anyHasStore(): Promise<boolean> {
    const asked = [...this.#links.values()].map((peer) => this.#hasStore(peer).catch(() => false));
    return (await Promise.all(asked)).includes(true);
  }

  /** Asks every other member for its part of an answer. `undefined` for one that does not answer. */
  answerParts(method: string, request: Uint8Array): Promise<{ id: string; part: Uint8Array | undefined }[]> {
    return Promise.all(
      [...this.#links.values()].map(async ({ ref, link }) => {
        const part = await inTime(this.parts.clock, ANSWER_MAX_MS, link.answerPart(method, request)).catch(
          () => undefined,
        );
        return { id: ref.id, part };
      }),
    );
  }

  async #hasStore(peer: PeerConnection): Promise<boolean> {
    const { id, propagation } = this.parts;
    const { works, seen } = await this.#asked(peer, peer.link.storeStatus(id));
    if (seen) propagation.reportedBy(peer.ref.id, seen);
    return works;
  }

  /** Hands notes to every other member. Returns the members that took all of them before `timeUp`. */
  async handOver(notes: readonly HeardNote[], timeUp: Promise<void>): Promise<MemberRef[]> {
    const took: MemberRef[] = [];
    const size = LIMITS.PEER_NOTES.value;
    const giving = [...this.#links.values()].map(async ({ ref, link }) => {
      for (let i = 0; i < notes.length; i += size) await link.handOver(notes.slice(i, i + size));
      if (notes.length === 0) await link.handOver([]);
      took.push(ref);
    });
    await Promise.race([Promise.allSettled(giving), timeUp]);
    return [...took];
  }

  close(): void {
    for (const { link } of this.#links.values()) link.close();
    this.#links.clear();
  }

  /** Waits for an answer up to ANSWER_MAX_MS, and notes whether there was one. */
  async #asked<T>(peer: PeerConnection, answer: Promise<T>): Promise<T> {
    const { ref, address } = peer;
    const { log } = this.parts;
    try {
      const answered = await inTime(this.parts.clock, ANSWER_MAX_MS, answer);
      if (peer.failing) log.info({ member: ref.id, address }, 'a member answers again');
      peer.failing = false;
      return answered;
    } catch (error) {
      const { message: reason } = error as Error;
      if (!peer.failing) log.warn({ member: ref.id, address, reason }, 'a member does not answer');
      peer.failing = true;
      throw error;
    }
  }
}

/** Waits for an answer for a while, and throws if there is none. */
async function inTime<T>(clock: Clock, maxMs: number, answer: Promise<T>): Promise<T> {
  const timeUp = new AbortController();
  const late = delay(clock, maxMs, timeUp.signal).then((): T => {
    throw new Error(`no answer within ${maxMs} ms`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([answer, late]);
  } finally {
    timeUp.abort();
  }
}
