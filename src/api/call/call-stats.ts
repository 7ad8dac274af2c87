import { Distribution, type Metric, type Sample, SECONDS_BOUNDS } from '../../base/metrics.js';
import { type CodeName, type Reason, REASONS } from '../../model/errors.js';
import type { Call, Transport } from './call.js';
import type { Failure } from './failure.js';
import type { MethodInfo, MethodKind } from './method-info.js';

/** The numbers of the calls of one method that arrived by one protocol. */
class MethodStats {
  started = 0;
  received = 0;
  sent = 0;
  ok = 0;
  /** Streams that their client ended. */
  cancelled = 0;
  /** Failed calls by their reason. */
  readonly failed = new Map<Reason, number>();
  readonly seconds = new Distribution(SECONDS_BOUNDS);
}

const LABELS = ['grpc_type', 'grpc_service', 'grpc_method', 'transport'];
const TYPES: Record<MethodKind, string> = {
  UNARY: 'unary',
  SERVER_STREAM: 'server_stream',
  BIDI_STREAM: 'bidi_stream',
};

/**
 * Counts the calls of every edge by method, protocol and code. The numbers have the names that servers of gRPC give them, so
 * that dashboards made for those work. Counting is adding to plain numbers.
 */
export class CallStats {
  readonly #stats: Record<Transport, Map<MethodInfo, MethodStats>> = { grpc: new Map(), http: new Map() };

  /** A call began. Its request, if it has one, was read. */
  started({ transport, method }: Call): void {
    const stats = this.#of(transport, method);
    stats.started++;
    if (method.kind !== 'BIDI_STREAM') stats.received++;
  }

  /** A call whose request could not be read was refused. */
  refused({ transport, method }: Call, failure: Failure): void {
    const stats = this.#of(transport, method);
    stats.started++;
    addTo(stats.failed, failure.error.reason, 1);
  }

  /** A message of a stream arrived, or was sent. */
  received({ transport, method }: Call): void {
    this.#of(transport, method).received++;
  }
  sent({ transport, method }: Call): void {
    this.#of(transport, method).sent++;
  }

  /** A unary call was answered. */
  answered({ transport, method }: Call, failure: Failure | undefined, elapsedMs: number): void {
    const stats = this.#of(transport, method);
    if (failure) addTo(stats.failed, failure.error.reason, 1);
    else {
      stats.ok++;
      stats.sent++;
    }
    stats.seconds.observe(elapsedMs / 1_000);
  }

  /** A stream ended: with a failure, or by its client, or with OK. */
  streamEnded({ transport, method }: Call, outcome: Failure | 'CANCELLED' | 'OK'): void {
    const stats = this.#of(transport, method);
    if (outcome === 'OK') stats.ok++;
    else if (outcome === 'CANCELLED') stats.cancelled++;
    else addTo(stats.failed, outcome.error.reason, 1);
  }

  /** The numbers as metrics. */
  metrics(): Metric[] {
    const each = (read: (stats: MethodStats, labels: Record<string, string>, method: MethodInfo) => Sample[]) => () =>
      Object.entries(this.#stats).flatMap(([transport, methods]) =>
        [...methods].flatMap(([method, stats]) => read(stats, labelsOf(method, transport), method)),
      );
    return [
      {
        ...{ labels: LABELS, name: 'grpc_server_started_total', help: 'Calls that arrived.', type: 'counter' },
        read: each(({ started }, labels) => [{ labels, value: started }]),
      },
      {
        ...{
          labels: [...LABELS, 'grpc_code'],
          name: 'grpc_server_handled_total',
          help: 'Calls that ended, by status code.',
          type: 'counter',
        },
        read: each((stats, labels) =>
          [...byCode(stats)].map(([code, value]) => ({ labels: { ...labels, grpc_code: code }, value })),
        ),
      },
      {
        ...{ labels: LABELS, name: 'grpc_server_msg_received_total', help: 'Messages received.', type: 'counter' },
        read: each(({ received }, labels) => [{ labels, value: received }]),
      },
      {
        ...{ labels: LABELS, name: 'grpc_server_msg_sent_total', help: 'Messages sent.', type: 'counter' },
        read: each(({ sent }, labels) => [{ labels, value: sent }]),
      },
      {
        labels: LABELS,
        name: 'grpc_server_handling_seconds',
        help: 'Time from the arrival of a unary call to its answer.',
        type: 'histogram',
        read: each(({ seconds }, labels, { kind }) => (kind === 'UNARY' ? seconds.samples(labels) : [])),
      },
      {
        ...{
          labels: ['reason'],
          name: 'rollcall_call_errors_total',
          help: 'Calls that ended with an error, by reason.',
          type: 'counter',
        },
        read: () => [...this.#byReason()].map(([reason, value]) => ({ labels: { reason }, value })),
      },
    ];
  }

  #byReason(): Map<Reason, number> {
    const reasons = new Map<Reason, number>();
    for (const methods of Object.values(this.#stats))
      for (const { failed } of methods.values()) for (const [reason, n] of failed) addTo(reasons, reason, n);
    return reasons;
  }

  #of(transport: Transport, method: MethodInfo): MethodStats {
    const methods = this.#stats[transport];
    let stats = methods.get(method);
    if (!stats) methods.set(method, (stats = new MethodStats()));
    return stats;
  }
}

/** The calls that ended, by the name of their code as the libraries of gRPC for Go write it. */
function byCode({ ok, cancelled, failed }: MethodStats): Map<string, number> {
  const codes = new Map([['OK', ok]]);
  if (cancelled > 0) codes.set('Canceled', cancelled);
  for (const [reason, n] of failed) addTo(codes, inGo(REASONS[reason].code), n);
  return codes;
}

/** INVALID_ARGUMENT as "InvalidArgument"; Go spells only one of them otherwise. */
function inGo(code: CodeName): string {
  if (code === 'CANCELLED') return 'Canceled';
  return code
    .split('_')
    .map((word) => word[0]! + word.slice(1).toLowerCase())
    .join('');
}

function addTo<K>(counts: Map<K, number>, key: K, n: number): void {
  counts.set(key, (counts.get(key) ?? 0) + n);
}

function labelsOf({ path, kind }: MethodInfo, transport: string): Record<string, string> {
  const [, service = '', method = ''] = path.split('/');
  return { grpc_type: TYPES[kind], grpc_service: service, grpc_method: method, transport };
}
