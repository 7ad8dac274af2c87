interface Event {
  readonly at: number;
  readonly order: number;
  readonly fire: () => void;
  /** True: it mostly does nothing that goes on later. */
  readonly quiet: boolean;
  cancelled: boolean;
}

/** Time that passes only when everything at one moment has been done. */
export class World {
  #now = 0;
  #order = 0;
  readonly #events: Event[] = [];

  get now(): number {
    return this.#now;
  }

  /** Plans something; returns the way to call it off. */
  at(time: number, fire: () => void, quiet = false): () => void {
    const event: Event = { at: Math.max(time, this.#now), order: this.#order++, fire, quiet, cancelled: false };
    this.#push(event);
    return () => (event.cancelled = true);
  }

  in(ms: number, fire: () => void, quiet = false): () => void {
    return this.at(this.#now + ms, fire, quiet);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.in(ms, resolve));
  }

  /** Lets time pass until `end`. */
  async run(end: number): Promise<void> {
    await settle();
    while (this.#events.length > 0 && this.#events[0]!.at <= end) {
      const event = this.#pop();
      if (event.cancelled) continue;
      this.#now = event.at;
      event.fire();
      // What a quiet event has begun goes on with the next one: most begin nothing, and there are many.
      if (event.quiet) await NEXT_TURN;
      else await settle();
    }
    this.#now = end;
  }

  #push(event: Event): void {
    const heap = this.#events;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(heap[i]!, heap[parent]!)) break;
      [heap[i], heap[parent]] = [heap[parent]!, heap[i]!];
      i = parent;
    }
  }

  #pop(): Event {
    const heap = this.#events;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    heap[0] = last;
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      if (least === i) return first;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  }
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** What goes on at once, before anything else does. */
const NEXT_TURN = Promise.resolve();

/** Lets every promise that can go on go on: immediates run only when no microtask is left. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
