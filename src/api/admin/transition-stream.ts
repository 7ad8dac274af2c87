import { type Clock, delay } from '../../base/clock.js';
import type { Replica } from '../../domain/replica.js';
import { type WatchTransitionsRequest, WatchTransitionsResponse } from '../../gen/rollcall/v1/admin_service.js';
import type { Transition } from '../../gen/rollcall/v1/transition.js';
import { RollcallError } from '../../model/errors.js';
import { decodePageToken, encodePageToken, hashSelection } from '../../model/tokens.js';
import type { Call } from '../call/call.js';
import { Validator } from '../call/validator.js';
import type { Sink } from '../call/sink.js';
import { encodeMessage } from '../call/wire.js';
import { isTaken, NO_PROGRESS_MAX_MS } from './taken.js';
import { validateScope, shownTo, toTransition } from './transitions.js';

/** The most transitions in one message, and the most that are looked at in one turn of the event loop. */
const MESSAGE_MAX = 500;
const LOOKED_AT_MAX = 5_000;
/** A message without transitions comes after this. */
const QUIET_MS = 12_000;

/** A validated WatchTransitions. */
export interface StreamQuery {
  readonly request: WatchTransitionsRequest;
  readonly selection: string;
  /** The ring and the number behind which the stream begins. `undefined`: from now on. */
  readonly after: { readonly ring: string; readonly number: number } | undefined;
}

/** Validates a WatchTransitions. */
export function validateWatchTransitions(request: WatchTransitionsRequest): StreamQuery {
  const validator = new Validator();
  validateScope(validator, request);
  const { namespace, service, id } = request;
  const selection = hashSelection(['WatchTransitions', namespace, service, id]);
  const [ring = '', number = ''] = decodePageToken(request.token, selection)?.after ?? [];
  const isToken = /^\d{1,15}$/.test(number);
  if (request.token !== '' && !isToken) validator.refuse('token', 'is not a token of this stream');
  validator.done();
  return { request, selection, after: isToken ? { ring, number: Number(number) } : undefined };
}

/** Sends the transitions of this server to one reader: a cursor in the ring, and one message on its way. */
export class TransitionStream {
  #number: number;
  #hasGap: boolean;
  #wake: () => void = () => undefined;
  #sentAtMs: number;

  constructor(
    private readonly replica: Pick<Replica, 'history' | 'node'>,
    private readonly clock: Clock,
    private readonly query: StreamQuery,
  ) {
    const { history } = replica;
    const { after } = query;
    const isOurs = after?.ring === history.id;
    this.#sentAtMs = clock.now();
    this.#hasGap = after !== undefined && !isOurs;
    this.#number = isOurs ? after.number : history.ring.newestNumber;
  }

  /** Serves until the stream ends. */
  async serve(sink: Sink, call: Pick<Call, 'principal'>): Promise<void> {
    const { history } = this.replica;
    const stop = history.onTransitions(() => this.#wake());
    sink.onEnd(() => {
      stop();
      this.#wake();
    });
    let isFirst = true;
    while (!sink.ended) {
      const { transitions, isAll } = this.#next(call);
      if (transitions.length > 0 || isFirst || this.#hasGap || isAll === undefined) {
        isFirst = false;
        if (!(await this.#send(sink, transitions))) return;
      }
      if (isAll) await this.#more();
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The transitions to send next. `isAll`: no others are there now; `undefined`: it has been quiet for long. */
  #next({ principal }: Pick<Call, 'principal'>): { transitions: Transition[]; isAll: boolean | undefined } {
    const { ring } = this.replica.history;
    const { namespace, service, id } = this.query.request;
    if (this.#number < ring.droppedNumber(this.query.request)) this.#hasGap = true;
    const rights = principal.rights();
    const transitions: Transition[] = [];
    let looked = 0;
    let isAll = true;
    for (const { number, entry } of ring.after(this.#number)) {
      if (transitions.length >= MESSAGE_MAX || looked++ >= LOOKED_AT_MAX) {
        isAll = false;
        break;
      }
      const isWanted =
        (namespace === '' || entry.namespace === namespace) &&
        (service === '' || entry.service === service) &&
        (id === '' || entry.id === id || entry.id === ''); // what happens to the service concerns it, too
      const shown = isWanted ? shownTo(rights, toTransition(entry)) : undefined;
      if (shown) transitions.push(shown);
      this.#number = number;
    }
    if (isAll) this.#number = ring.newestNumber; // those that were dropped are behind it, too
    const isQuiet = transitions.length === 0 && this.clock.now() - this.#sentAtMs >= QUIET_MS;
    return { transitions, isAll: isQuiet ? undefined : isAll };
  }

  /** Waits for more, or until it has been quiet for long. */
  async #more(): Promise<void> {
    if (this.replica.history.ring.newestNumber > this.#number) return; // they came while the last message was on its way
    const over = new AbortController();
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    await Promise.race([woken, delay(this.clock, QUIET_MS, over.signal)]);
    over.abort();
  }

  /** Returns false if the stream has ended. */
  async #send(sink: Sink, transitions: Transition[]): Promise<boolean> {
    const { history, node } = this.replica;
    const token = encodePageToken({ after: [history.id, String(this.#number)], selection: this.query.selection });
    const message = { transitions, token, gap: this.#hasGap, node };
    this.#hasGap = false;
    this.#sentAtMs = this.clock.now();
    const isSent = await isTaken(sink, this.clock, encodeMessage(WatchTransitionsResponse, message));
    if (!isSent)
      sink.fail(
        new RollcallError(
          'SLOW_READER',
          `the reader took nothing for ${NO_PROGRESS_MAX_MS / 1_000} s; call again with the last token`,
        ),
      );
    return isSent && !sink.ended;
  }
}
