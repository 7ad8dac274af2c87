import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Clock } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { SelfBeat } from '../../domain/health/liveness-clock.js';

/** If a datagram has not come back after this time, the kernel has dropped it, and it is sent again. */
const RESEND_MS = 1_000;

/** A self-beat as a datagram on the loopback interface: it queues in the kernel beside the heartbeats of clients. */
export class LoopbackSelfBeat implements SelfBeat, Closeable {
  #sentAtMs: number | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly clock: Clock,
  ) {
    socket.on('message', () => (this.#sentAtMs = undefined));
    socket.on('error', () => undefined); // a datagram that cannot be sent does not come back either
  }

  static async open(clock: Clock): Promise<LoopbackSelfBeat> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new LoopbackSelfBeat(socket, clock);
  }

  get inFlight(): boolean {
    return this.#sentAtMs !== undefined;
  }

  send(): void {
    const now = this.clock.now();
    if (this.#sentAtMs !== undefined && now - this.#sentAtMs < RESEND_MS) return;
    this.#sentAtMs = now;
    this.socket.send('b');
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.socket.close(() => resolve()));
  }
}
