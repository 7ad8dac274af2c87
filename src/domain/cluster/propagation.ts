import type { Clock } from '../../base/clock.js';
import type { HistogramBoard } from '../../base/telemetry.js';
import type { PeerStoreStatus } from '../health/peers.js';
import { HISTOGRAMS } from './instruments.js';

/** A rewrite as a member saw it. */
type SeenRewrite = NonNullable<PeerStoreStatus['seen']>;

/** How many rewrites are remembered: those of half a minute. */
const REMEMBERED_MAX = 10;

/** A place at which a rewrite arrives: the catalog of its own member, the watches of its clients, the catalog of a peer. */
export type Place = keyof typeof HISTOGRAMS;

/**
 * Measures how long a write takes from its commit until it is seen. Every member rewrites its key all the time, so nothing
 * more is written for it.
 */
export class Propagation {
  /** When each rewrite was confirmed, oldest first. */
  readonly #confirmedAtMs = new Map<string, number>();
  /** Places that a rewrite reached before its confirmation. */
  readonly #early = new Map<string, Place[]>();
  /** The last rewrite that each peer reported. */
  readonly #reportedBy = new Map<string, string>();

  constructor(
    private readonly clock: Clock,
    private readonly histograms: HistogramBoard,
  ) {}

  /** The store has confirmed a rewrite. */
  confirmed(writeId: string): void {
    this.#confirmedAtMs.set(writeId, this.clock.now());
    for (const place of this.#early.get(writeId) ?? []) this.#observe(place, 0);
    this.#early.delete(writeId);
    forgetOldest(this.#confirmedAtMs);
  }

  /** A rewrite was seen at a place, just now. */
  reached(place: Place, writeId: string): void {
    this.#reached(place, { writeId, ageMs: 0 });
  }

  /** A peer reports which rewrite it saw last. The measure includes the way of its answer. */
  reportedBy(peer: string, seen: SeenRewrite): void {
    if (this.#reportedBy.get(peer) === seen.writeId) return;
    this.#reportedBy.delete(peer);
    this.#reportedBy.set(peer, seen.writeId);
    forgetOldest(this.#reportedBy);
    if (this.#confirmedAtMs.has(seen.writeId)) this.#reached('peer', seen);
  }

  #reached(place: Place, { writeId, ageMs }: SeenRewrite): void {
    const confirmedAtMs = this.#confirmedAtMs.get(writeId);
    if (confirmedAtMs !== undefined) return this.#observe(place, this.clock.now() - ageMs - confirmedAtMs);
    this.#early.set(writeId, [...(this.#early.get(writeId) ?? []), place]);
    forgetOldest(this.#early);
  }

  #observe(place: Place, ms: number): void {
    this.histograms.observe(HISTOGRAMS[place], Math.max(0, ms) / 1_000);
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > REMEMBERED_MAX) map.delete(oldest!);
}
