import { Backoff } from '../base/backoff.js';
import { delay, systemClock } from '../base/clock.js';
import { systemRandom } from '../base/random.js';
import { ResetReason, WatchKind, type WatchProgress } from '../gen/rollcall/v1/watch.js';
import { Code } from '../model/errors.js';
import { fromDuration } from '../model/time.js';
import { CallError } from './call-error.js';

/** After an end with one of these codes, the same call cannot succeed. */
const FINAL: ReadonlySet<number> = new Set<number>([Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED]);

/** The waits between two streams: long enough to spare a server that starts, short enough that a view is not old for long. */
const RETRY_BASE_MS = 200;
const RETRY_MAX_MS = 5_000;

/** A message of any watch. */
export interface WatchMessage {
  readonly progress?: WatchProgress | undefined;
}

/** One step of a watch: everything that makes the view that of one revision. */
export interface WatchStep<Message extends WatchMessage> {
  /** "snapshot" replaces the view, "change" goes on from it, and "bookmark" says that nothing has changed. */
  readonly kind: 'snapshot' | 'change' | 'bookmark';
  /** The messages, in order. */
  readonly messages: readonly Message[];
  readonly revision: bigint;
  /** The token that continues the watch from here, on any server. */
  readonly resumeToken: string;
  /** More than 0 while the server has lost its store: the view may be so old, in milliseconds. */
  readonly staleForMs: number;
  /** Why the watch could not go on from its token. Unset in any step but a snapshot. */
  readonly resetReason: ResetReason;
}

/** How a watch is followed. */
export interface FollowOptions {
  readonly signal: AbortSignal;
  /** The token to go on from. Default: begin with a snapshot. */
  readonly resumeToken?: string | undefined;
  /** Called when a stream has ended, once until the next step. The view may be old until then. */
  readonly onInterrupted?: ((error: CallError) => void) | undefined;
}

/**
 * Follows a watch over the ends of its streams, on whichever server answers, until `signal` is aborted, which must end the
 * streams of `open` too. Throws a CallError only if the call cannot succeed.
 */
export async function* follow<Message extends WatchMessage>(
  open: (resumeToken: string) => AsyncIterable<Message>,
  { signal, resumeToken = '', onInterrupted }: FollowOptions,
): AsyncGenerator<WatchStep<Message>, void, undefined> {
  const backoff = new Backoff(systemRandom, RETRY_BASE_MS, RETRY_MAX_MS);
  let token = resumeToken;
  let continueToken = '';
  let staged: Message[] = [];
  let isInterrupted = false;
  let isKnown = false;
  while (!signal.aborted) {
    let isFirst = true;
    let ended: unknown;
    try {
      for await (const message of open(continueToken || token)) {
        const { progress } = message;
        if (!progress) continue;
        if (isFirst && !progress.continues) staged = [];
        isFirst = false;
        isKnown = true;
        backoff.reset();
        staged.push(message);
        if (progress.revision === 0n) {
          continueToken = progress.continueToken;
          continue;
        }
        isInterrupted = false;
        token = progress.resumeToken || token;
        continueToken = '';
        yield stepOf(staged, progress, token);
        staged = [];
      }
      ended = new CallError('the stream has ended', Code.UNAVAILABLE);
    } catch (thrown) {
      if (!(thrown instanceof CallError)) throw thrown;
      // A token that was good once is renewed, sooner or later.
      const isFinal = FINAL.has(thrown.code) || (thrown.code === Code.UNAUTHENTICATED && !isKnown);
      if (isFinal) throw thrown;
      ended = thrown;
    }
    if (signal.aborted) return;
    if (!isInterrupted) onInterrupted?.(ended as CallError);
    isInterrupted = true;
    await delay(systemClock, backoff.nextMs(), signal);
  }
}

function stepOf<Message extends WatchMessage>(
  messages: readonly Message[],
  { revision, staleFor }: WatchProgress,
  resumeToken: string,
): WatchStep<Message> {
  const has = (kind: WatchKind): boolean => messages.some(({ progress }) => progress?.kind === kind);
  const kind = has(WatchKind.WATCH_KIND_SNAPSHOT)
    ? 'snapshot'
    : has(WatchKind.WATCH_KIND_CHANGE)
      ? 'change'
      : 'bookmark';
  const reset = messages.find(({ progress }) => progress?.resetReason)?.progress?.resetReason;
  return {
    kind,
    messages,
    revision,
    resumeToken,
    staleForMs: staleFor === undefined ? 0 : fromDuration(staleFor),
    resetReason: reset ?? ResetReason.RESET_REASON_UNSPECIFIED,
  };
}
