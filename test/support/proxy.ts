import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

/** What a proxy does with the bytes that come. */
export type ProxyMode =
  /** Hands them on. */
  | 'pass'
  /** Takes them and does nothing, in both directions: nobody hears that anything is wrong. */
  | 'blackhole'
  /** Hands requests on and keeps the replies. */
  | 'keep-replies';

/** A TCP proxy in front of one port, for the failures of a network. */
export class Proxy {
  mode: ProxyMode = 'pass';
  /** How much later bytes arrive, in milliseconds. */
  delayMs = 0;
  /** How many bytes came for the port. */
  bytes = 0;
  readonly #pairs = new Set<{ near: Socket; far: Socket }>();

  private constructor(
    private readonly server: Server,
    private readonly target: number,
  ) {
    server.on('connection', (near) => this.#join(near));
  }

  static async open(t: TestContext, target: number): Promise<Proxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new Proxy(server, target);
    t.after(() => proxy.close());
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** Cuts every connection that is open now. */
  cut(): void {
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far.destroy();
    }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  #join(near: Socket): void {
    const far = connect(this.target, '127.0.0.1');
    const pair = { near, far };
    this.#pairs.add(pair);
    const later = (send: () => void): void => void (this.delayMs > 0 ? setTimeout(send, this.delayMs) : send());
    near.on('data', (bytes) => (this.bytes += bytes.length));
    near.on('data', (bytes) => this.mode !== 'blackhole' && later(() => far.write(bytes)));
    far.on('data', (bytes) => this.mode === 'pass' && later(() => near.write(bytes)));
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
  }
}
