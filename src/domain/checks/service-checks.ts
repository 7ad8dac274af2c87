import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import { SERVICE_CHECKS } from '../../catalog/kinds.js';
import type { Scope } from '../../catalog/collection.js';
import { page, type Page } from '../../catalog/paging.js';
import { CheckVerdict, HealthCheck, type ServiceChecks as ServiceChecksMessage } from '../../gen/rollcall/v1/check.js';
import type { Signature } from '../../model/actor.js';
import {
  checkKey,
  readServiceChecks,
  releasedCheck,
  type ServiceChecksItem,
  serviceChecksKey,
  serviceChecksOf,
  serviceChecksSet,
  writeCheck,
  writeServiceChecks,
} from '../../model/check.js';
import type { InstanceItem } from '../../model/instance.js';
import { ifReadable } from '../../model/item.js';
import { maxOf } from '../../base/max.js';
import { putTxn, type Revision, type Txn } from '../../store/store.js';

/** The dependencies of ServiceChecks. */
export interface ServiceChecksParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly telemetry: Telemetry;
}

/** The instances whose checks are released. */
export interface ReleaseScope {
  readonly namespace: string;
  /** Empty: every service of the namespace. */
  readonly service: string;
  /** Empty: every instance of the service. */
  readonly id: string;
}

/** The checks that operators define for services, and the verdicts that they set aside. */
export class ServiceChecks {
  constructor(private readonly parts: ServiceChecksParts) {}

  /** Defines the checks of a service. None: the definition ends. The same ones again change nothing. */
  async set(
    names: { readonly namespace: string; readonly service: string },
    checks: readonly HealthCheck[],
    signature: Signature,
  ): Promise<Revision> {
    const { catalog, commits, telemetry } = this.parts;
    const { namespace, service } = names;
    catalog.assertReady();
    const key = serviceChecksKey(namespace, service);
    return commits.retrying(`the checks of ${service}`, async (): Promise<Attempt<Revision>> => {
      const { entry } = await commits.get(key);
      const before = entry && ifReadable(() => readServiceChecks(entry));
      if (isEqual(checks, before?.record.checks ?? [])) return { done: before?.revision ?? catalog.revision };
      const record = serviceChecksSet(checks, before, signature, commits.stamp());
      const txn = putTxn(record.writeId, key, writeServiceChecks(record), entry?.modRevision ?? 0n);
      const result = await commits.commit(txn);
      if (!result.ok) return { retry: true };
      const { author, comment } = signature;
      telemetry.log.info(
        { namespace, service, checks: checks.length, author, comment },
        'the checks of a service were set',
      );
      await commits.visible(result.revision);
      return { done: result.revision };
    });
  }

  /** The checks of the services that the caller sees, of a namespace or of all, by key, behind `after`. */
  list(
    namespace: string | undefined,
    size: number,
    after: string,
    sees: (item: ServiceChecksItem) => boolean,
  ): Page<ServiceChecksMessage> {
    const all = [...this.parts.catalog.of(SERVICE_CHECKS).live()].filter(
      (item) => item.key > after && (namespace === undefined || item.namespace === namespace) && sees(item),
    );
    return page(
      all,
      size,
      ({ key }) => key,
      (item) => serviceChecksOf(item),
      ({ bytes }) => bytes,
    );
  }

  /**
   * Takes instances for passing until their checks fail again. It acts on those that are pending or failed, and on the
   * verdicts that this server knows. Returns the number of instances, and the newest revision.
   */
  async release(
    scope: ReleaseScope,
    signature: Signature,
  ): Promise<{ readonly released: number; readonly revision: Revision }> {
    const { catalog, commits, telemetry } = this.parts;
    catalog.assertReady();
    let released = 0;
    let revision = catalog.revision;
    for (let tries = 0; tries < RELEASE_TRIES; tries++) {
      const txns = [...this.#ill(scope)].map((item) => this.#releaseTxn(item, signature));
      if (txns.length === 0) break;
      const results = await commits.commitEach([], txns);
      released += results.filter(({ ok }) => ok).length;
      revision = results.reduce((newest, one) => maxOf(newest, one.revision), revision);
      await commits.visible(revision);
      if (results.every(({ ok }) => ok)) break; // the others have changed meanwhile, and are looked at again
    }
    if (released === 0) return { released, revision };
    const { author, comment } = signature;
    telemetry.log.warn({ ...scope, released, author, comment }, 'an operator released checks');
    return { released, revision };
  }

  /** Compares the instance, too: another process may have registered it, of which this server has not heard yet. */
  #releaseTxn(item: InstanceItem, signature: Signature): Txn {
    const { catalog, commits } = this.parts;
    const key = checkKey(item.namespace, item.scope, item.name);
    const record = releasedCheck(item.record.instance!.incarnation, signature, commits.stamp());
    return {
      writeId: record.writeId,
      compares: [{ key: item.key, modRevision: item.modRevision }, ...catalog.unchanged(key)],
      writes: [{ kind: 'put', key, value: writeCheck(record) }],
    };
  }

  *#ill({ namespace, service, id }: ReleaseScope): Generator<InstanceItem> {
    for (const scope of this.#scopes(namespace, service))
      for (const item of scope.live())
        if ((id === '' || item.name === id) && RELEASED.includes(item.checks.verdict)) yield item;
  }

  *#scopes(namespace: string, service: string): Generator<Scope<InstanceItem>> {
    const scopes = this.parts.catalog.instances.namespace(namespace)?.scopes;
    if (service !== '') {
      const one = scopes?.get(service)?.value;
      if (one) yield one;
    } else for (const { value } of scopes?.values() ?? []) yield value;
  }
}

/** The times that a release looks at instances that changed under it. */
const RELEASE_TRIES = 3;
/** The verdicts that a release sets aside. */
const RELEASED: readonly CheckVerdict[] = [CheckVerdict.CHECK_VERDICT_PENDING, CheckVerdict.CHECK_VERDICT_FAILED];

function isEqual(checks: readonly HealthCheck[], others: readonly HealthCheck[]): boolean {
  const bytes = (one: HealthCheck): string => Buffer.from(HealthCheck.encode(one).finish()).toString('base64');
  return checks.map(bytes).join() === others.map(bytes).join();
}
