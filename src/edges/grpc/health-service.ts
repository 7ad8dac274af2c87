import {
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type Calls, isWellFormed } from './calls.js';

/** The words of grpc.health.v1. */
export type ServingStatus = 'SERVING' | 'NOT_SERVING';

interface HealthRequest {
  service: string;
}

/**
 * grpc.health.v1: whether this server takes calls. It serves once the store has been read, and from then on until
 * it shuts down: an outage of the store must not pull every replica out of a load balancer.
 */
export class HealthService {
  readonly #watchers = new Map<ServerWritableStream<HealthRequest, object>, string>();
  #status: ServingStatus = 'NOT_SERVING';

  /** `services` are the names that may be asked for, besides the empty one. */
  constructor(private readonly services: ReadonlySet<string>) {}

  /** Changes the status, and tells whoever watches. */
  set(status: ServingStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    for (const [call] of this.#watchers) call.write({ status });
  }

  implementation(calls: Calls): UntypedServiceImplementation {
    const answer = calls.unary<HealthRequest, object>(() => ({ status: this.#status }));
    return {
      check: (call: ServerUnaryCall<HealthRequest, object>, callback: sendUnaryData<object>) => {
        const isUnknown = isWellFormed(call.request) && !this.#knows(call.request.service);
        if (isUnknown) callback({ code: status.NOT_FOUND, details: 'unknown service' });
        else answer(call, callback);
      },
      list: calls.unary(() => ({
        statuses: Object.fromEntries(['', ...this.services].map((name) => [name, { status: this.#status }])),
      })),
      watch: calls.stream((call: ServerWritableStream<HealthRequest, object>, ending) => {
        const known = this.#knows(call.request.service);
        call.write({ status: known ? this.#status : 'SERVICE_UNKNOWN' });
        if (!known) return;
        this.#watchers.set(call, call.request.service);
        ending.onEnd(() => this.#watchers.delete(call));
      }),
    };
  }

  #knows(service: string): boolean {
    return service === '' || this.services.has(service);
  }
}
