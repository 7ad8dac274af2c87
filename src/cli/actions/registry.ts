import { Health, type InstanceFilter, Liveness } from '../../gen/rollcall/v1/instance.js';
import type { Protection } from '../../gen/rollcall/v1/protection.js';
import { CommandFailed, Exit } from '../exits.js';
import { instanceTable } from '../instance-table.js';
import { instanceNamed } from '../names.js';
import { type Cell, table } from '../output.js';
import type { Session } from '../session.js';
import { everyPage } from '../shown.js';
import { type CheckFlags, checkOf } from './checks.js';
import { keepRegistered } from './keep-registered.js';
import { watchInstances } from './watch-instances.js';

/** The flags that select instances. */
export interface FilterFlags {
  readonly tag?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly instanceVersion?: string;
  readonly zone?: string;
  readonly all?: boolean;
}

/** The flags of register. */
export interface RegisterFlags extends CheckFlags {
  readonly id?: string;
  readonly address: string;
  readonly port?: number;
  readonly tag?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly instanceVersion?: string;
  readonly region?: string;
  readonly zone?: string;
  readonly weight?: number;
  readonly ttl?: number;
  readonly static?: boolean;
}

/** Follows the instances of services. */
export async function watch(session: Session<FilterFlags>, services: readonly string[]): Promise<void> {
  await watchInstances(session, services, filterOf({ ...session.flags, all: session.flags.all ?? true }));
}

/** Registers an instance, and beats for it. */
export async function register(session: Session<RegisterFlags>, service: string | undefined): Promise<void> {
  await keepRegistered(session, instanceOf(session, service));
}

const protectedText = (protection: Protection | undefined): string =>
  protection ? 'The service is protected: many instances fell silent in one event, and they are still shown.\n' : '';

function filterOf({ tag, metadata, instanceVersion, zone, all }: FilterFlags): Partial<InstanceFilter> {
  return {
    tags: [...(tag ?? [])],
    metadata: new Map(Object.entries(metadata ?? {})),
    version: instanceVersion ?? '',
    ...(zone !== undefined && { locality: { region: '', zone, subZone: '' } }),
    healthStates: all ? EVERY_STATE : [],
  };
}

/** Every state of health, for listings that hide nothing. */
const EVERY_STATE = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED, Health.HEALTH_UNHEALTHY, Health.HEALTH_DRAINING];

/** Shows the namespaces. */
export async function listNamespaces({ client, show, signal }: Session<unknown>): Promise<void> {
  const answer = await everyPage((page) => client.registry.listNamespaces(page, { signal }), 'namespaces');
  await show('registry.listNamespaces', answer, () =>
    table(
      ['NAMESPACE', 'SERVICES', 'INSTANCES', 'CONFIGS'],
      answer.namespaces.map(({ namespace, serviceCount, instanceCount, configCount }) => [
        ...[namespace, String(serviceCount), String(instanceCount), String(configCount)],
      ]),
    ),
  );
}

/** Shows the services of a namespace. */
export async function listServices({ client, show, namespace, signal }: Session<unknown>): Promise<void> {
  const answer = await everyPage(
    (page) => client.registry.listServices({ ...page, namespace }, { signal }),
    'services',
  );
  await show('registry.listServices', answer, () =>
    table(
      ['SERVICE', 'HEALTHY', 'DEGRADED', 'UNHEALTHY', 'DRAINING', 'PROTECTED'],
      answer.services.map((one): Cell[] => [
        one.service,
        String(one.healthyCount),
        count(one.degradedCount, 'yellow'),
        count(one.unhealthyCount, 'red'),
        count(one.drainingCount, 'gray'),
        one.protection ? { text: 'yes', color: 'yellow' } : '-',
      ]),
    ),
  );
}

/** Shows every instance of a service, or of all services. */
export async function listInstances(
  { client, show, namespace, signal, flags }: Session<FilterFlags & { address?: string }>,
  service: string | undefined,
): Promise<void> {
  const filter = filterOf({ ...flags, all: true });
  const { address = '' } = flags;
  if (service === undefined || address !== '') {
    const scope = { namespace, service: service ?? '', address, filter };
    const answer = await everyPage(
      (page) => client.registry.listInstances({ ...page, ...scope }, { signal }),
      'instances',
    );
    return show('registry.listInstances', answer, () => instanceTable(answer.instances, true));
  }
  const answer = await client.registry.discover({ namespace, service, filter }, { signal });
  await show('registry.discover', answer, () => instanceTable(answer.instances) + protectedText(answer.protection));
}

/** Shows the instances of a service as a client gets them. */
export async function discover(
  { client, show, namespace, signal, flags }: Session<FilterFlags & { subset?: number; subsetKey?: string }>,
  service: string,
): Promise<void> {
  const { subset: size, subsetKey: key = '' } = flags;
  const subset = size === undefined ? {} : { subset: { size, key } };
  const answer = await client.registry.discover({ namespace, service, filter: filterOf(flags), ...subset }, { signal });
  const hidden = answer.hiddenCount;
  await show('registry.discover', answer, () =>
    [
      instanceTable(answer.instances),
      hidden > 0 ? `${hidden} more are hidden because of their health; see "rollcall instances ${service}".\n` : '',
      protectedText(answer.protection),
    ].join(''),
  );
}

/** Removes an instance. */
export async function deregister(
  {
    client,
    show,
    namespace,
    signal,
    flags: { incarnation, comment = '' },
  }: Session<{ incarnation?: string; comment?: string }>,
  name: string,
): Promise<void> {
  const { service, id } = instanceNamed(name);
  const given = incarnation === undefined ? {} : { incarnation };
  const answer = await client.registry.deregister({ namespace, service, id, comment, ...given }, { signal });
  await show('registry.deregister', answer, () => `${service}/${id} is removed, revision ${answer.revision}\n`);
}

function instanceOf({ namespace, flags }: Session<RegisterFlags>, service: string | undefined) {
  const { address, port = 0, tag = [], metadata = {}, instanceVersion = '', region = '', zone = '' } = flags;
  const check = checkOf(flags);
  if (service === undefined) throw new CommandFailed('the service is missing', Exit.USAGE);
  return {
    ...{ namespace, service, address, port, tags: [...tag], version: instanceVersion },
    metadata: new Map(Object.entries(metadata)),
    ...(flags.id !== undefined && { id: flags.id }),
    ...((region !== '' || zone !== '') && { locality: { region, zone, subZone: '' } }),
    ...(flags.weight !== undefined && { weight: flags.weight }),
    ...(flags.ttl !== undefined && { ttl: { seconds: BigInt(flags.ttl), nanos: 0 } }),
    ...(flags.static && { liveness: Liveness.LIVENESS_STATIC }),
    ...(check && { checks: [check] }),
  };
}

/** A number that a person should see if it is not zero. */
const count = (n: number, color: 'yellow' | 'red' | 'gray'): Cell => (n === 0 ? '0' : { text: String(n), color });
