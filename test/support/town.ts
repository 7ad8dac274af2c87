import { validateRegister } from '../../src/api/registry/validation.js';
import { validateHeartbeats } from '../../src/api/registry/heartbeats.js';
import { matcher } from '../../src/domain/registry/filter.js';
import { HeartbeatItem } from '../../src/gen/rollcall/v1/heartbeat.js';
import type { Protection } from '../../src/gen/rollcall/v1/protection.js';
import { RegisterRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import type { Stage } from './stage.js';

/** How often living instances send a heartbeat. */
const BEAT_MS = 600;

/** An instance as a test gives it; what is left out is drawn. */
export interface Settler {
  readonly namespace?: string;
  readonly address?: string;
  readonly port?: number;
  readonly ttlS?: number;
  readonly zone?: string;
  readonly incarnation?: string;
  readonly reported?: { readonly state: number; readonly note: string };
}

/** What Discover answers. */
export interface Shown {
  readonly ids: readonly string[];
  readonly hidden: number;
  readonly protection: Protection | undefined;
}

/** Services whose instances beat on a stage until they are stopped. Names are such as "pay/p1". */
export class Town {
  readonly #beating = new Map<string, HeartbeatItem>();
  readonly #known = new Map<string, HeartbeatItem>();
  #addresses = 0;

  constructor(readonly stage: Stage) {
    const beat = (): void => {
      this.#send([...this.#beating.values()]);
      stage.world.in(BEAT_MS, beat);
    };
    beat();
  }

  /** Registers instances, each at an address of its own unless one is given, and lets them beat. */
  async add(names: readonly string[], settler: Settler = {}): Promise<void> {
    await this.stage.until(Promise.all(names.map((name) => this.#register(name, settler))));
  }

  /** Lets instances fall silent, all at once. */
  stop(names: readonly string[]): void {
    for (const name of names) this.#beating.delete(name);
  }

  /** Lets instances beat again, beginning now. */
  resume(names: readonly string[]): void {
    for (const name of names) this.#beating.set(name, this.#known.get(name)!);
    this.#send(names.map((name) => this.#known.get(name)!));
  }

  async leave(names: readonly string[]): Promise<void> {
    this.stop(names);
    const refs = names.map((name) => ({ ...this.#known.get(name)!, incarnation: undefined }));
    await this.stage.until(Promise.all(refs.map((ref) => this.stage.replica.registrations.deregister(ref))));
  }

  shown(service: string, namespace = 'default'): Shown {
    const { instances, hiddenCount, protection } = this.stage.replica.discovery.discover(
      namespace,
      service,
      matcher(undefined),
      undefined,
    );
    return { ids: instances.map(({ id }) => id), hidden: hiddenCount, protection };
  }

  /** The ids that are registered, whatever their health. */
  registered(service: string, namespace = 'default'): string[] {
    const scope = this.stage.replica.catalog.instances.scope(namespace, service);
    return [...(scope?.live() ?? [])].map(({ name }) => name).sort();
  }

  isProtected(service: string): boolean {
    return this.shown(service).protection !== undefined;
  }

  #send(items: readonly HeartbeatItem[]): void {
    if (items.length === 0) return;
    const { items: checked } = validateHeartbeats(items.map((item) => HeartbeatItem.fromPartial(item)));
    void Promise.resolve()
      .then(() => this.stage.replica.heartbeats.receive(checked))
      .catch(() => undefined);
  }

  async #register(name: string, settler: Settler): Promise<void> {
    const { namespace = 'default', port = 80, ttlS = 2, zone = '', incarnation = name.replace('/', '-') } = settler;
    const [service, id] = name.split('/') as [string, string];
    const { address = `10.1.${this.#addresses >> 8}.${this.#addresses++ & 255}`, reported } = settler;
    const request = RegisterRequest.fromPartial({
      instance: {
        ...{ namespace, service, id, address, port, ttl: { seconds: BigInt(ttlS), nanos: 0 } },
        ...{ locality: { zone }, ...(reported && { reported }) },
      },
      incarnation,
    });
    await this.stage.replica.registrations.register(validateRegister(request, '127.0.0.1').registration);
    const item = HeartbeatItem.fromPartial({ namespace, service, id, incarnation });
    this.#known.set(name, item);
    this.#beating.set(name, item);
  }
}

/** Names such as "pay/p0" to "pay/p3". */
export function named(service: string, count: number, first = 0): string[] {
  return Array.from({ length: count }, (_, i) => `${service}/p${first + i}`);
}
