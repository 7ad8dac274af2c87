/** A call as a trace shows it. */
export interface TracedCall {
  readonly method: { readonly path: string };
  readonly transport: string;
  readonly peerAddress: string;
  readonly metadata: { readonly request: Readonly<Record<string, string | readonly string[] | undefined>> };
}

/** A piece of work in a trace that is recorded. */
export interface Span {
  /** Calls `work`. Spans that it begins, also later, become children of this one. */
  run<T>(work: () => T): T;
  /** Ends the span. `failure` is `undefined` if the work succeeded. */
  end(failure?: SpanFailure): void;
}

/** The error that a span ends with. */
export interface SpanFailure {
  /** The status code, as a number of gRPC. */
  readonly code: number;
  /** The reason, such as "STORE_UNAVAILABLE". */
  readonly reason: string;
  readonly message: string;
}

/** Records traces. src/telemetry implements it, if the process exports traces. */
export interface Tracer {
  /** Begins the span of a call. `undefined` if the call is not recorded, as most are. */
  call(call: TracedCall): Span | undefined;
  /** Begins a child of the span whose work is running. `undefined` if none is. */
  child(name: string): Span | undefined;
}
