import { ResetReason } from '../gen/rollcall/v1/watch.js';
import type { CallError } from './call-error.js';
import { SavedView, type SavedItems } from './saved-view.js';
import { follow, type WatchMessage, type WatchStep } from './watch.js';

/** Bookmarks come every 15 s at the latest: a view without a message for longer may be old. */
const FRESH_MAX_MS = 20_000;
/** The time that servers have to answer before the state on disk counts, which is older. */
const FIRST_ANSWER_MS = 2_000;
/** The longest time from a change until the state on disk is written. */
const SAVE_AFTER_MS = 1_000;

/** Options of a view. */
export interface ViewOptions {
  /** Ends the view. */
  readonly signal?: AbortSignal;
  /** A folder for the last good state. Default: that of the client. */
  readonly stateFolder?: string | undefined;
  /** Called when the watch has lost its server, once until it goes on. It is repeated on its own, on any server. */
  readonly onInterrupted?: (error: CallError) => void;
  /** Called when the watch could not go on where it was, and begins with a snapshot. The view is right all the same. */
  readonly onReset?: (reason: ResetReason) => void;
  /** Called when the state cannot be written to its folder. It is tried again after the next change. */
  readonly onNotSaved?: (error: unknown) => void;
}

/** The facts that a view needs about the messages of its watch. */
export interface ViewSource<Message extends WatchMessage, Item> {
  /** The selection as text: a state on disk is used for the same one alone. */
  readonly selection: string;
  /** Opens one stream of the watch. */
  open(resumeToken: string, signal: AbortSignal): AsyncIterable<Message>;
  /** The items that a message adds or replaces, by key. */
  upserted(message: Message): Iterable<readonly [key: string, item: Item]>;
  /** Called before the messages of a snapshot, which replaces everything. */
  begin?(): void;
  /** The keys that a message removes. */
  removed(message: Message): Iterable<string>;
  encode(item: Item): Uint8Array;
  decode(bytes: Uint8Array): Item;
}

/**
 * A view that follows a watch. It shows one revision of the store at a time, whole. While no server answers it keeps what it
 * showed last, and says how old that may be.
 */
export class View<Message extends WatchMessage, Item> {
  readonly #stop = new AbortController();
  readonly #saved: SavedView | undefined;
  /** Those who wait for the next change. */
  #wakers: (() => void)[] = [];
  #items: ReadonlyMap<string, Item> = new Map();
  #revision = 0n;
  #isReady = false;
  #isInterrupted = true;
  /** When the view was known to be current, on the clock of this process; before it began for one from disk. */
  #currentAtMs = -Infinity;
  #changes = 0;
  #failure: Error | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  /** Set while the state from disk waits for a server. */
  #restoredTimer: NodeJS.Timeout | undefined;
  #token = '';

  constructor(
    private readonly source: ViewSource<Message, Item>,
    private readonly options: ViewOptions & { readonly servers?: readonly string[] },
  ) {
    const { stateFolder, signal, servers = [] } = options;
    this.#saved = stateFolder === undefined ? undefined : new SavedView(stateFolder, source.selection, servers);
    this.#restore(this.#saved?.read());
    signal?.addEventListener('abort', () => this.close(), { once: true });
    void this.#follow();
  }

  /** True once there is a complete view, from a server, or from disk where none has answered for 2 s. It stays true. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** The revision of the store that the view shows; 0n until it is ready. */
  get revision(): bigint {
    return this.#revision;
  }

  /** True if the view may be old: no server answers, or the one that does has lost its store. */
  get isStale(): boolean {
    return this.staleForMs > 0;
  }

  /** How old the view may be, in milliseconds; 0 if it is current. */
  get staleForMs(): number {
    const age = performance.now() - this.#currentAtMs;
    return this.#isInterrupted || age > FRESH_MAX_MS ? age : 0;
  }

  /** Aborted when the view is closed. */
  get closed(): AbortSignal {
    return this.#stop.signal;
  }

  /** The items of the view, by key. The map is never changed: each change makes a new one. */
  get items(): ReadonlyMap<string, Item> {
    return this.#items;
  }

  /** Resolves when there is a complete view. Rejects with the CallError of a watch that cannot succeed, and if the view is closed. */
  async ready(): Promise<this> {
    while (!this.#isReady) await this.#next();
    return this;
  }

  /**
   * Resolves now, and after every change of what the view shows or of whether it may be old, until the view is closed. Changes
   * that come while the body of the loop runs are one. Throws the CallError of a watch that cannot succeed.
   */
  async *changes(): AsyncGenerator<this, void, undefined> {
    await this.ready().catch((error: unknown) => {
      if (!this.closed.aborted) throw error;
    });
    for (let seen = -1; !this.closed.aborted;) {
      if (seen === this.#changes) {
        await this.#next().catch((error: unknown) => {
          if (!this.closed.aborted) throw error;
        });
        continue;
      }
      seen = this.#changes;
      yield this;
    }
  }

  /** Ends the view. Its last state stays readable. */
  close(): void {
    if (this.closed.aborted) return;
    this.#save();
    clearTimeout(this.#restoredTimer);
    this.#stop.abort();
    this.#changed();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    const open = (token: string): AsyncIterable<Message> => this.source.open(token, signal);
    const onInterrupted = (error: CallError): void => {
      this.#isInterrupted = true;
      this.#useRestored();
      this.options.onInterrupted?.(error);
      this.#changed();
    };
    try {
      for await (const step of follow(open, { signal, resumeToken: this.#token, onInterrupted })) this.#take(step);
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#isInterrupted = true;
      this.#changed();
    }
  }

  #take(step: WatchStep<Message>): void {
    const wasStale = this.isStale;
    const wasReady = this.#isReady;
    const { kind, messages, revision, resumeToken, staleForMs, resetReason } = step;
    if (resetReason !== ResetReason.RESET_REASON_UNSPECIFIED) this.options.onReset?.(resetReason);
    if (kind !== 'bookmark') {
      const items = new Map(kind === 'snapshot' ? [] : this.#items);
      if (kind === 'snapshot') this.source.begin?.();
      for (const message of messages) {
        for (const [key, item] of this.source.upserted(message)) items.set(key, item);
        for (const key of this.source.removed(message)) items.delete(key);
      }
      this.#items = items;
    }
    this.#revision = revision;
    this.#token = resumeToken;
    this.#isReady = true;
    clearTimeout(this.#restoredTimer);
    this.#restoredTimer = undefined;
    this.#isInterrupted = staleForMs > 0;
    this.#currentAtMs = performance.now() - staleForMs;
    this.#saveTimer ??= this.#saved && setTimeout(() => this.#save(), SAVE_AFTER_MS).unref();
    if (kind !== 'bookmark' || wasStale !== this.isStale || !wasReady) this.#changed();
  }

  /** Takes over what an earlier process kept. */
  #restore(saved: SavedItems | undefined): void {
    if (!saved) return;
    try {
      this.#items = new Map(saved.items.map(([key, bytes]) => [key, this.source.decode(bytes)]));
    } catch {
      return; // the file is damaged: the watch begins with a snapshot
    }
    this.#revision = saved.revision;
    this.#token = saved.resumeToken;
    this.#currentAtMs = performance.now() - saved.ageMs;
    this.#restoredTimer = setTimeout(() => this.#useRestored(), FIRST_ANSWER_MS);
  }

  /** Lets the state from disk count, as no server has answered yet. */
  #useRestored(): void {
    if (this.#restoredTimer === undefined) return;
    clearTimeout(this.#restoredTimer);
    this.#restoredTimer = undefined;
    this.#isReady = true;
    this.#changed();
  }

  #save(): void {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    if (!this.#saved || this.#token === '') return;
    const items = [...this.#items].map(([key, item]) => [key, this.source.encode(item)] as const);
    const ageMs = this.staleForMs;
    try {
      this.#saved.write({ items, revision: this.#revision, resumeToken: this.#token, ageMs });
    } catch (error) {
      this.options.onNotSaved?.(error);
    }
  }

  #changed(): void {
    this.#changes++;
    const wakers = this.#wakers;
    this.#wakers = [];
    for (const wake of wakers) wake();
  }

  /** Resolves at the next change. */
  async #next(): Promise<void> {
    if (this.#failure === undefined && !this.closed.aborted)
      await new Promise<void>((resolve) => this.#wakers.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
    this.closed.throwIfAborted();
  }
}
