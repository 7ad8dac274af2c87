import { LinkedList, type Node } from './linked-list.js';

/** A value waiting in a TimerWheel. */
interface Armed<T> {
  readonly value: T;
  /** The time at which the value is due, by the time of the wheel. */
  readonly dueMs: number;
  readonly slot: number;
}

/**
 * Holds many deadlines, of which few are ever reached. Arming and disarming cost O(1). Advancing costs one step for
 * each slot that is passed and each deadline that is reached.
 *
 * The wheel reads no clock: its owner advances its time. A deadline farther away than one turn of the wheel waits in
 * its slot for more turns.
 */
export class TimerWheel<T> {
  readonly #slots: LinkedList<Armed<T>>[];
  readonly #places = new Map<T, Node<Armed<T>>>();
  #nextTick = 0;

  /** A value is returned up to `slotMs` after its deadline, and never before it. */
  constructor(
    private readonly slotMs: number,
    slotCount: number,
  ) {
    this.#slots = Array.from({ length: slotCount }, () => new LinkedList<Armed<T>>());
  }

  get size(): number {
    return this.#places.size;
  }

  /** Arms `value`, or moves its deadline. If the deadline has passed, the next `advance` returns the value. */
  arm(value: T, dueMs: number): void {
    this.disarm(value);
    const tick = Math.max(Math.ceil(dueMs / this.slotMs), this.#nextTick);
    const slot = tick % this.#slots.length;
    this.#places.set(value, this.#slots[slot]!.push({ value, dueMs, slot }));
  }

  /** Forgets `value`; does nothing if it is not armed. */
  disarm(value: T): void {
    const place = this.#places.get(value);
    if (!place) return;
    this.#slots[place.value.slot]!.remove(place);
    this.#places.delete(value);
  }

  /** Takes out everything that is due at `nowMs`. */
  advance(nowMs: number): T[] {
    const due: T[] = [];
    const lastTick = Math.floor(nowMs / this.slotMs);
    // After more than a whole turn it is enough to visit each slot once.
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
