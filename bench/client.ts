import { once } from 'node:events';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { type ClientHttp2Session, connect } from 'node:http2';

/** A call that is ready to be sent. */
export interface Call {
  readonly path: string;
  readonly body: Buffer;
  /** The request as JSON, where a benchmark sends it so. */
  readonly json?: object;
}

/** Checks the answer to a call whose status is OK. Returns what is wrong with it; `undefined` if it is a success. */
export type AnswerCheck = (answer: Buffer) => string | undefined;

/** The bytes before a message in its gRPC frame: a flag and the length. */
export const FRAME_HEADER_BYTES = 5;

/** Puts a message into its gRPC frame. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, FRAME_HEADER_BYTES);
  return frame;
}

/** Makes calls. */
export abstract class Caller {
  /** Resolves once every connection is open; rejects if one cannot be opened. */
  abstract connected(): Promise<void>;

  /** Makes one call; resolves to the message of the answer, rejects on any status but OK. */
  abstract call(call: Call): Promise<Buffer>;

  abstract close(): void;

  /** Makes calls, `inFlight` at a time; returns the duration in seconds. Rejects at the first call that fails. */
  async run(calls: Iterator<Call>, inFlight: number, check?: AnswerCheck): Promise<number> {
    const began = performance.now();
    let failed = false;
    const lane = async (): Promise<void> => {
      try {
        for (let next = calls.next(); !next.done && !failed; next = calls.next()) {
          const answer = await this.call(next.value);
          const wrong = check?.(answer);
          if (wrong !== undefined) throw new Error(`${next.value.path}: ${wrong}`);
        }
      } catch (error) {
        failed = true;
        throw error;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, lane));
    return (performance.now() - began) / 1_000;
  }
}

/** How a server is reached that does not take every client in clear text. */
export interface Reach {
  /** The authority (PEM) that signed the server's certificate; `undefined` without TLS. */
  readonly ca?: Buffer | undefined;
  /** The token that every call shows; `undefined` if none. */
  readonly token?: string | undefined;
}

/** A client that only sends frames and compares the status. It costs less than any gRPC library. */
export class BenchClient extends Caller {
  readonly #sessions: ClientHttp2Session[];
  readonly #headers: OutgoingHttpHeaders;
  #next = 0;

  constructor(address: string, connections = 4, { ca, token }: Reach = {}) {
    super();
    this.#headers = {
      ...{ ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' },
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
    this.#sessions = Array.from({ length: connections }, () =>
      ca ? connect(`https://${address}`, { ca }) : connect(`http://${address}`),
    );
    // The calls of a session report its errors. Without a listener an error would end the process.
    for (const session of this.#sessions) session.on('error', () => undefined);
  }

  async connected(): Promise<void> {
    for (const session of this.#sessions) if (session.connecting) await once(session, 'connect');
  }

  call({ path, body }: Call): Promise<Buffer> {
    const session = this.#sessions[this.#next++ % this.#sessions.length]!;
    return new Promise((resolve, reject) => {
      const stream = session.request({ ...this.#headers, ':path': path });
      const parts: Buffer[] = [];
      let end: IncomingHttpHeaders = {};
      stream.on('response', (headers) => (end = headers));
      stream.on('trailers', (trailers: IncomingHttpHeaders) => (end = trailers));
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('error', (error: Error) => reject(new Error(`${path}: ${error.message}`)));
      stream.on('close', () => {
        if (end['grpc-status'] === '0') resolve(Buffer.concat(parts).subarray(FRAME_HEADER_BYTES));
        else reject(new Error(`${path}: ${failure(end)}`));
      });
      stream.end(body);
    });
  }

  close(): void {
    for (const session of this.#sessions) session.close();
  }
}

/** Describes the end of a call that is not OK. */
function failure(end: IncomingHttpHeaders): string {
  const status = end['grpc-status'];
  if (status === undefined) return 'the server ended the call without a status';
  return `status ${String(status)}, ${decodeURIComponent(String(end['grpc-message'] ?? 'without a message'))}`;
}
