import { LinkedList, type Node } from './linked-list.js';

/** A value waiting in a TimerWheel. */
export interface Armed<T> {
  readonly value: T;
  /** When it is due, in the time of the wheel. */
  readonly dueMs: number;
}

/**
 * Many deadlines of which few are ever met: arming and disarming are O(1), and advancing costs the
 * slots passed plus the deadlines met.
 *
 * Time is whatever the owner advances it by. A deadline farther away than one turn of the wheel waits
 * in its slot for more turns.
 */
export class TimerWheel<T> {
  readonly #slots: LinkedList<Armed<T>>[];
  readonly #places = new Map<T, { slot: number; node: Node<Armed<T>> }>();
  #nextTick = 0;

  /** A deadline is met up to `slotMs` late and never early. */
  constructor(
    private readonly slotMs: number,
    slotCount: number,
  ) {
    this.#slots = Array.from({ length: slotCount }, () => new LinkedList<Armed<T>>());
  }

  get size(): number {
    return this.#places.size;
  }

  /** Arms `value`, or moves its deadline. A deadline that has passed is met at the next advance. */
  arm(value: T, dueMs: number): void {
    this.disarm(value);
    const tick = Math.max(Math.ceil(dueMs / this.slotMs), this.#nextTick);
    const slot = tick % this.#slots.length;
    const node = this.#slots[slot]!.push({ value, dueMs });
    this.#places.set(value, { slot, node });
  }

  /** Forgets `value`; does nothing if it is not armed. */
  disarm(value: T): void {
    const place = this.#places.get(value);
    if (!place) return;
    this.#slots[place.slot]!.remove(place.node);
    this.#places.delete(value);
  }

  /** Takes out everything that is due at `nowMs`. */
  advance(nowMs: number): T[] {
    const due: T[] = [];
    const lastTick = Math.floor(nowMs / this.slotMs);
    // More than a whole turn: each slot once is enough.
    const first = Math.max(this.#nextTick, lastTick - this.#slots.length + 1);
    for (let tick = first; tick <= lastTick; tick++) {
      const slot = this.#slots[tick % this.#slots.length]!;
      for (let node = slot.first; node;) {
        const next = node.next;
        if (node.value.dueMs <= nowMs) {
          slot.remove(node);
          this.#places.delete(node.value.value);
          due.push(node.value.value);
        }
        node = next;
      }
    }
    this.#nextTick = Math.max(this.#nextTick, lastTick + 1);
    return due;
  }
}
