/** Milliseconds in each unit of the header grpc-timeout; see "PROTOCOL-HTTP2" of gRPC. */
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };
const GRPC_TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const CONNECT_TIMEOUT_MS = /^\d{1,10}$/;

/** The milliseconds in a header grpc-timeout, `undefined` if it is malformed. */
export function grpcTimeoutMs(text: string): number | undefined {
  const [, amount, unit] = GRPC_TIMEOUT.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * UNIT_MS[unit!]!;
}

/** The milliseconds in a header connect-timeout-ms, `undefined` if it is malformed. */
export function connectTimeoutMs(text: string): number | undefined {
  return CONNECT_TIMEOUT_MS.test(text) ? Number(text) : undefined;
}
