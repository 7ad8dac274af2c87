import type { IncomingHttpHeaders } from 'node:http';
import { type ClientHttp2Session, connect } from 'node:http2';

/** A call that is ready to be sent. */
export interface Call {
  readonly path: string;
  readonly body: Buffer;
}

/** Puts a message into its gRPC frame. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

/** A client that does nothing but send frames and look at the status: cheaper than any real one. */
export class BenchClient {
  readonly #sessions: ClientHttp2Session[];
  #next = 0;

  constructor(address: string, connections = 4) {
    this.#sessions = Array.from({ length: connections }, () => connect(`http://${address}`));
  }

  /** Makes one call; resolves to the answer's message, rejects on any status but OK. */
  call({ path, body }: Call): Promise<Buffer> {
    const session = this.#sessions[this.#next++ % this.#sessions.length]!;
    return new Promise((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const parts: Buffer[] = [];
      let status = '';
      stream.on('response', (headers) => (status = String(headers['grpc-status'] ?? '')));
      stream.on('trailers', (trailers: IncomingHttpHeaders) => (status = String(trailers['grpc-status'])));
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('error', reject);
      stream.on('close', () =>
        status === '0' ? resolve(Buffer.concat(parts).subarray(5)) : reject(new Error(`${path}: status ${status}`)),
      );
      stream.end(body);
    });
  }

  /** Makes many calls, so many at a time; returns how long it took, in seconds. */
  async run(calls: Iterator<Call>, inFlight: number): Promise<number> {
    const began = performance.now();
    const lane = async (): Promise<void> => {
      for (let next = calls.next(); !next.done; next = calls.next()) await this.call(next.value);
    };
    await Promise.all(Array.from({ length: inFlight }, lane));
    return (performance.now() - began) / 1_000;
  }

  close(): void {
    for (const session of this.#sessions) session.close();
  }
}
