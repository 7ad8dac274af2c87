import { type Clock, delay } from '../../base/clock.js';
import type { Log } from '../../base/observe.js';
import type { Answer, HeardNote, Query } from '../health/heard.js';
import type { MemberRef, PeerConnector, PeerLink } from '../health/peers.js';
import { LIMITS } from '../../model/limits.js';
import type { MemberItem } from '../../model/records.js';

/** A member that has not answered within this has not answered: there is no verdict, and it is asked again. */
const ANSWER_MAX_MS = 1_000;

/** The way to one membership. */
interface Way {
  readonly ref: MemberRef;
  readonly address: string;
  readonly link: PeerLink;
  /** True: the last question had no answer. */
  failing: boolean;
}

/** The ways to the other members, each kept as long as its membership. */
export class PeerLinks {
  readonly #links = new Map<string, Way>();

  constructor(
    private readonly connect: PeerConnector,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** The way to a membership, with a bound on every answer. */
  to({ id, epoch, record }: MemberItem): Pick<PeerLink, 'lastHeard'> {
    let known = this.#links.get(id);
    if (known?.ref.epoch !== epoch) {
      known?.link.close();
      const { address } = record;
      known = { ref: { id, epoch }, address, link: this.connect({ id, epoch, address }), failing: false };
      this.#links.set(id, known);
    }
    const way = known;
    return {
      lastHeard: (queries: readonly Query[], promise: boolean): Promise<readonly Answer[]> =>
        this.#asked(way, way.link.lastHeard(queries, promise)),
    };
  }

  forget(id: string): void {
    this.#links.get(id)?.link.close();
    this.#links.delete(id);
  }

  /** Ids of members that did not answer when they were asked last. */
  unreachable(): string[] {
    return [...this.#links.values()].filter(({ failing }) => failing).map(({ ref }) => ref.id);
  }

  /** Asks every other member whether the store works for it. True: at least one says so. Who does not answer is noted. */
  async anyHasStore(): Promise<boolean> {
    const asked = [...this.#links.values()].map((way) => this.#asked(way, way.link.storeWorks()).catch(() => false));
    return (await Promise.all(asked)).includes(true);
  }

  /** Hands notes to every other member; returns those that took all of them before `timeUp`. */
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

  /** Waits for an answer for a bounded time, and notes whether there is one. */
  async #asked<T>(way: Way, answer: Promise<T>): Promise<T> {
    const { ref, address } = way;
    try {
      const answered = await this.#inTime(answer);
      if (way.failing) this.log.info({ member: ref.id, address }, 'a member answers again');
      way.failing = false;
      return answered;
    } catch (error) {
      const { message: reason } = error as Error;
      if (!way.failing) this.log.warn({ member: ref.id, address, reason }, 'a member does not answer');
      way.failing = true;
      throw error;
    }
  }

  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const timeUp = new AbortController();
    const late = delay(this.clock, ANSWER_MAX_MS, timeUp.signal).then((): T => {
      throw new Error(`no answer within ${ANSWER_MAX_MS} ms`);
    });
    late.catch(() => undefined);
    try {
      return await Promise.race([answer, late]);
    } finally {
      timeUp.abort();
    }
  }
}
