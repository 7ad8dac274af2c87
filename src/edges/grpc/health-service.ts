import type { Method } from '../../api/call/method.js';
import type { Sink } from '../../api/call/sink.js';
import type { Clock } from '../../base/clock.js';
import { RollcallError } from '../../model/errors.js';
import { loadedService } from './loaded-service.js';

/** How often a watch repeats the status, so that no proxy takes it for idle. Clients take a repeated status for no change. */
const REPEAT_MS = 15_000;

/** The statuses of grpc.health.v1 that this server uses for itself. */
export type ServingStatus = 'SERVING' | 'NOT_SERVING';

interface HealthRequest {
  readonly service: string;
}

/**
 * grpc.health.v1: whether this server takes calls. It answers SERVING once the store has been read, except during a
 * wait before the next join, and until it shuts down. An outage of the store must not pull every replica out of a load
 * balancer.
 */
export class HealthService {
  /** The watches whose status changes, and what sends it. */
  readonly #watchers = new Map<Sink, () => void>();
  #status: ServingStatus = 'NOT_SERVING';

  constructor(private readonly clock: Clock) {}

  /** Changes the status, and notifies the watchers. */
  set(status: ServingStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    for (const tell of this.#watchers.values()) tell();
  }

  /** The methods. `services` are the names that may be asked for, besides the empty one. */
  methods(services: ReadonlySet<string>): Method[] {
    const method = loadedService('grpc.health.v1.Health');
    const isKnown = (service: string): boolean => service === '' || services.has(service);
    return [
      method('check').unary(({ service }: HealthRequest) => {
        if (!isKnown(service)) throw new RollcallError('UNKNOWN_SERVICE', 'the server has no service of this name');
        return { status: this.#status };
      }),
      method('list').unary(() => ({
        // A map of a loaded image is written as the list of its entries.
        statuses: ['', ...services].map((key) => ({ key, value: { status: this.#status } })),
      })),
      method('watch').serverStream(({ service }: HealthRequest, send, sink) => {
        const known = isKnown(service);
        const tell = (): void => send({ status: known ? this.#status : 'SERVICE_UNKNOWN' });
        tell();
        if (known) this.#watchers.set(sink, tell);
        const repeating = this.clock.every(REPEAT_MS, tell);
        sink.onEnd(() => {
          repeating.cancel();
          this.#watchers.delete(sink);
        });
      }),
    ];
  }
}
