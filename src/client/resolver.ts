import { experimental, Metadata, status } from '@grpc/grpc-js';
import type { Client } from './client.js';
import type { ServiceView } from './service-view.js';

type Target = experimental.GrpcUri;
type Listener = experimental.ResolverListener;

/** The scheme of the targets. */
const SCHEME = 'rollcall';
/** Calls go to every instance in turn, unless the channel has a service config of its own. */
const ROUND_ROBIN = { loadBalancingConfig: [{ round_robin: {} }], methodConfig: [] };

/**
 * Makes grpc-js resolve targets such as "rollcall:///pay" (in the namespace "default") and "rollcall:///shop/pay" (in the
 * namespace "shop"): channels then follow the instances of the service, and keep the last ones while no server of Rollcall
 * answers. With TLS, instances prove the name of the service, unless the channel sets `grpc.ssl_target_name_override`.
 * It holds for the process, and the last call wins.
 */
export function registerResolver(client: Client): void {
  experimental.registerResolver(
    SCHEME,
    class {
      static getDefaultAuthority(target: Target): string {
        return subjectOf(target).service;
      }

      readonly #subject: Subject;
      #view: ServiceView | undefined;

      constructor(
        target: Target,
        private readonly listener: Listener,
        private readonly options: Record<string, unknown>,
      ) {
        this.#subject = subjectOf(target);
      }

      updateResolution(): void {
        if (this.#view && !this.#view.closed.aborted) return this.#report(this.#view);
        const { namespace, service } = this.#subject;
        this.#view = client.viewServices({ namespace, services: [service] });
        void this.#follow(this.#view);
      }

      destroy(): void {
        this.#view?.close();
      }

      async #follow(view: ServiceView): Promise<void> {
        try {
          for await (const changed of view.changes()) this.#report(changed);
        } catch (error) {
          view.close();
          this.#fail(error instanceof Error ? error.message : String(error));
        }
      }

      /** Reports the endpoints, never within the call of the library that asks for them. */
      #report(view: ServiceView): void {
        setImmediate(() => {
          if (view.closed.aborted || !view.isReady) return;
          const endpoints = view.instances().map(({ address, port }) => ({ addresses: [{ host: address, port }] }));
          if (endpoints.length === 0) return this.#fail(`no instance of ${this.#subject.service} can take traffic`);
          const own = this.options['grpc.service_config'] !== undefined;
          this.listener(
            { ok: true, value: endpoints },
            {},
            own ? null : { ok: true, value: ROUND_ROBIN },
            view.isStale ? 'the servers of Rollcall do not answer' : '',
          );
        });
      }

      #fail(details: string): void {
        const error = { code: status.UNAVAILABLE, details, metadata: new Metadata() };
        this.listener({ ok: false, error }, {}, null, '');
      }
    },
  );
}

interface Subject {
  readonly namespace: string;
  readonly service: string;
}

function subjectOf({ path }: Target): Subject {
  const [first = '', second, ...more] = path.replace(/^\//, '').split('/');
  if (first === '' || second === '' || more.length > 0)
    throw new TypeError(
      `the target ${SCHEME}:///${path} must be ${SCHEME}:///SERVICE or ${SCHEME}:///NAMESPACE/SERVICE`,
    );
  return second === undefined ? { namespace: 'default', service: first } : { namespace: first, service: second };
}
