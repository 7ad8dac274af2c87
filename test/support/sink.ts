import type { Failure } from '../../src/api/call/failure.js';
import { Sink, type StreamTransport } from '../../src/api/call/sink.js';

/** A sink that belongs to no call. `toFailure` receives what ends it. */
export function sinkOf(transport: StreamTransport, toFailure: (error: unknown) => Failure): Sink {
  const ignore = (): void => undefined;
  return new Sink(transport, { toFailure, sent: ignore, ended: ignore, released: ignore });
}
