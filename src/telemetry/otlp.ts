import {
  context,
  diag,
  DiagLogLevel,
  type Span as OtelSpan,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { parseTraceParent } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AlwaysOnSampler, BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { type Clock, settledWithin } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { Random } from '../base/random.js';
import type { Log } from '../base/telemetry.js';
import type { Span, SpanFailure, TracedCall, Tracer } from '../base/tracing.js';

/** How long an export may take. Meanwhile further spans wait. */
const EXPORT_MAX_MS = 5_000;
/** How long spans are collected for one export. */
const COLLECT_MS = 2_000;
/** The most spans that wait, some 2 MB. Further ones are dropped: a collector that is away must cost nothing. */
const SPANS_MAX = 2_048;
const SPANS_PER_EXPORT = 512;
/** How long the last export may take at the end of the process. */
const CLOSE_MAX_MS = 2_000;
/** Failures of the export are logged no more often than this. */
const LOG_EVERY_MS = 60_000;

/** Calls that are recorded only as a part of a trace: every instance sends one every few seconds. */
const ONLY_WITH_PARENT: ReadonlySet<string> = new Set([
  '/rollcall.v1.RegistryService/Heartbeat',
  '/rollcall.v1.RegistryService/StreamHeartbeats',
]);

/** Failures that are the server's: the status of their spans is an error. The others are those of a caller. */
const SERVER_FAULTS: ReadonlySet<number> = new Set([2, 4, 12, 13, 14, 15]);

/** The dependencies of OtlpTracer. */
export interface OtlpParts {
  /** The URL to which spans are posted. */
  readonly url: string;
  /** The share of the calls without a trace of their own that are recorded, from 0 to 1. */
  readonly share: number;
  readonly version: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Records traces and exports them with OTLP over HTTP. It is loaded only if an endpoint is set. Whether a call is recorded is
 * decided before any object of the library is made: by the trace that the call belongs to, else by lot.
 */
export class OtlpTracer implements Tracer, Closeable {
  readonly #provider: BasicTracerProvider;
  readonly #tracer;
  #loggedMs = -Infinity;

  constructor(private readonly parts: OtlpParts) {
    const { url, version } = parts;
    const logged = (message: string, ...rest: unknown[]): void => this.#log([message, ...rest].map(String).join(' '));
    diag.setLogger({ error: logged, warn: logged, info: ignore, debug: ignore, verbose: ignore }, DiagLogLevel.WARN);
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const exporter = new OTLPTraceExporter({ url, timeoutMillis: EXPORT_MAX_MS });
    const processor = new BatchSpanProcessor(exporter, {
      maxQueueSize: SPANS_MAX,
      maxExportBatchSize: SPANS_PER_EXPORT,
      scheduledDelayMillis: COLLECT_MS,
      exportTimeoutMillis: EXPORT_MAX_MS,
    });
    const resource = resourceFromAttributes({ 'service.name': 'rollcall', 'service.version': version });
    this.#provider = new BasicTracerProvider({ resource, sampler: new AlwaysOnSampler(), spanProcessors: [processor] });
    this.#tracer = this.#provider.getTracer('rollcall', version);
  }

  call(call: TracedCall): Span | undefined {
    const { path } = call.method;
    const parent = parseTraceParent(String(call.metadata.request['traceparent'] ?? ''));
    const isRecorded = parent
      ? (parent.traceFlags & 1) === 1
      : !ONLY_WITH_PARENT.has(path) && this.parts.random.fraction() < this.parts.share;
    if (!isRecorded) return undefined;
    const before = context.active();
    const within = parent ? trace.setSpanContext(before, { ...parent, isRemote: true }) : before;
    const attributes = {
      'rpc.system.name': call.transport === 'grpc' ? 'grpc' : 'connectrpc',
      'rpc.method': path.slice(1),
      'network.peer.address': call.peerAddress,
    };
    return new OtlpSpan(this.#tracer.startSpan(path.slice(1), { kind: SpanKind.SERVER, attributes }, within));
  }

  child(name: string): Span | undefined {
    const active = trace.getSpan(context.active());
    return active && new OtlpSpan(this.#tracer.startSpan(name, { kind: SpanKind.INTERNAL }));
  }

  /** Exports what is left, if the collector takes it in time. */
  async close(): Promise<void> {
    const closed = this.#provider.shutdown().catch((error: unknown) => this.#log(String(error)));
    await settledWithin(this.parts.clock, CLOSE_MAX_MS, closed);
  }

  #log(reason: string): void {
    const now = this.parts.clock.now();
    if (now - this.#loggedMs < LOG_EVERY_MS) return;
    this.#loggedMs = now;
    this.parts.log.warn({ url: this.parts.url, reason }, 'traces cannot be exported; they are dropped');
  }
}

class OtlpSpan implements Span {
  constructor(private readonly span: OtelSpan) {}

  run<T>(work: () => T): T {
    return context.with(trace.setSpan(context.active(), this.span), work);
  }

  end(failure?: SpanFailure): void {
    this.span.setAttribute('rpc.response.status_code', String(failure?.code ?? 0));
    if (failure) {
      this.span.setAttribute('error.type', failure.reason);
      if (SERVER_FAULTS.has(failure.code))
        this.span.setStatus({ code: SpanStatusCode.ERROR, message: failure.message });
    }
    this.span.end();
  }
}

const ignore = (): void => undefined;
