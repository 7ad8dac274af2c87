import {
  constants,
  type Http2Server,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Clock } from '../../base/clock.js';

/** Connections beyond the limit, for the other servers of the cluster: clients in crowds must not cut them off. */
const PEER_CONNECTIONS = 100;
/** How long a connection beyond the limit may take to show that it is one of a server. */
const PROVE_MAX_MS = 5_000;
const REFUSAL = Buffer.from('this server has as many connections as it takes');

type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: unknown[]) => void;

/** The dependencies of a ConnectionLimit. */
export interface ConnectionLimitParts {
  readonly clock: Clock;
  /** The most open connections of clients. */
  readonly limit: number;
  /** Returns true if a path is one of a method for the other servers, all of which prove themselves. */
  readonly isForPeers: (path: string) => boolean;
}

/**
 * Bounds the open connections. One beyond the limit is kept only if its first call is one of another server that proves
 * itself; any other gets GOAWAY, and its call REFUSED_STREAM, so that a client may call another server.
 */
export class ConnectionLimit {
  readonly #open = new Set<Http2Session>();
  /** The open connections beyond the limit that have not proven themselves. */
  readonly #surplus = new WeakSet<Http2Session>();

  constructor(private readonly parts: ConnectionLimitParts) {}

  /** The number of open connections. */
  get size(): number {
    return this.#open.size;
  }

  /** Counts the connections of a server from now on. Its listeners for requests must have been added. */
  guard(http2Server: Http2Server): void {
    http2Server.maxConnections = this.parts.limit + PEER_CONNECTIONS; // also of those in the handshake of TLS
    http2Server.prependListener('session', (session: Http2Session) => this.#begun(session));
    const listeners = http2Server.listeners('stream') as StreamListener[];
    http2Server.removeAllListeners('stream');
    http2Server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: unknown[]) => {
      const { session } = stream;
      if (session && this.#surplus.has(session) && !this.#mayProve(stream, session, headers)) return;
      for (const listener of listeners) listener.call(http2Server, stream, headers, ...rest);
    });
  }

  #begun(session: Http2Session): void {
    this.#open.add(session);
    session.once('close', () => this.#open.delete(session));
    if (this.#open.size <= this.parts.limit) return;
    this.#surplus.add(session);
    const timer = this.parts.clock.after(PROVE_MAX_MS, () => this.#surplus.has(session) && session.destroy());
    session.once('close', () => timer.cancel());
  }

  /** Lets the call of a server through, and looks at its outcome. Refuses any other, and returns false. */
  #mayProve(stream: ServerHttp2Stream, session: Http2Session, headers: IncomingHttpHeaders): boolean {
    if (!this.parts.isForPeers(headers[':path'] ?? '')) {
      stream.on('error', () => undefined);
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      refuse(session);
      return false;
    }
    stream.once('close', () => {
      if (Number(stream.sentTrailers?.['grpc-status']) === 0) this.#surplus.delete(session);
      else refuse(session);
    });
    return true;
  }
}

function refuse(session: Http2Session): void {
  if (session.destroyed || session.closed) return;
  session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, REFUSAL);
  session.close();
}
