import type { Command } from 'commander';
import type { Health, InstanceFilter } from '../../gen/rollcall/v1/instance.js';
import type { Protection } from '../../gen/rollcall/v1/protection.js';
import { CommandFailed, Exit } from '../exits.js';
import { instanceTable } from '../instance-table.js';
import { type Cell, table } from '../output.js';
import { keyValue, remote, type Session, several, wholeNumber } from '../session.js';
import { everyPage, example } from '../shown.js';

/** The flags that select instances. */
interface FilterFlags {
  readonly tag?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly instanceVersion?: string;
  readonly zone?: string;
  readonly all?: boolean;
}

function filterFlags(command: Command): Command {
  return command
    .option('--tag <tag>', 'only instances with this tag; may be repeated', several)
    .option('--metadata <key=value>', 'only instances with this metadata; may be repeated', keyValue)
    .option('--instance-version <version>', 'only instances of this version')
    .option('--zone <zone>', 'only instances of this zone')
    .option('-a, --all', 'also instances that are unhealthy or draining');
}

/** Every state of health, for listings that hide nothing. */
const EVERY_STATE: readonly Health[] = [1, 2, 3, 4];

function filterOf({ tag, metadata, instanceVersion, zone, all }: FilterFlags): Partial<InstanceFilter> {
  return {
    tags: [...(tag ?? [])],
    metadata: new Map(Object.entries(metadata ?? {})),
    version: instanceVersion ?? '',
    ...(zone !== undefined && { locality: { region: '', zone, subZone: '' } }),
    healthStates: all ? [...EVERY_STATE] : [],
  };
}

const protectedText = (protection: Protection | undefined): string =>
  protection ? 'The service is protected: many instances fell silent in one event, and they are still shown.\n' : '';

/** Commands that read and change the registry. */
export function registryCommands(program: Command): void {
  remote(
    program
      .command('namespaces')
      .summary('list namespaces')
      .description('Lists the namespaces that have a service or a config.'),
    async ({ client, show, signal }) => {
      const answer = await everyPage((page) => client.registry.listNamespaces(page, { signal }), 'namespaces');
      await show('registry.listNamespaces', answer, () =>
        table(
          ['NAMESPACE', 'SERVICES', 'INSTANCES', 'CONFIGS'],
          answer.namespaces.map(({ namespace, serviceCount, instanceCount, configCount }) => [
            ...[namespace, String(serviceCount), String(instanceCount), String(configCount)],
          ]),
        ),
      );
    },
  ).addHelpText('after', example('rollcall namespaces'));

  remote(
    program
      .command('services')
      .summary('list services')
      .description('Lists the services of a namespace and the health of their instances.'),
    async ({ client, show, namespace, signal }) => {
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
    },
  ).addHelpText('after', example('rollcall services --namespace shop'));

  remote<FilterFlags>(
    filterFlags(
      program
        .command('instances <service>')
        .summary('list the instances of a service')
        .description('Lists every instance of a service, also those that Discover hides because of their health.'),
    ),
    async ({ client, show, namespace, signal, flags }, service) => {
      const filter = filterOf({ ...flags, all: true });
      const answer = await client.registry.discover({ namespace, service, filter }, { signal });
      await show('registry.discover', answer, () => instanceTable(answer.instances) + protectedText(answer.protection));
    },
  ).addHelpText('after', example('rollcall instances pay', 'rollcall instances pay --tag canary -o json'));

  remote<FilterFlags & { subset?: number; subsetKey?: string }>(
    filterFlags(
      program
        .command('discover <service>')
        .summary('show the instances that clients get')
        .description('Shows the instances of a service as a client gets them.'),
    )
      .option('--subset <size>', 'only so many instances, the same ones for the same key', wholeNumber(1, 100_000))
      .option('--subset-key <key>', 'key of the subset', ''),
    async ({ client, show, namespace, signal, flags }, service) => {
      const { subset: size, subsetKey: key = '' } = flags;
      const subset = size === undefined ? {} : { subset: { size, key } };
      const answer = await client.registry.discover(
        { namespace, service, filter: filterOf(flags), ...subset },
        { signal },
      );
      const hidden = answer.hiddenCount;
      await show('registry.discover', answer, () =>
        [
          instanceTable(answer.instances),
          hidden > 0 ? `${hidden} more are hidden because of their health; see "rollcall instances ${service}".\n` : '',
          protectedText(answer.protection),
        ].join(''),
      );
    },
  ).addHelpText(
    'after',
    example('rollcall discover pay', 'rollcall discover pay --zone eu-1a --subset 3 --subset-key "$HOSTNAME"'),
  );

  remote<FilterFlags>(
    filterFlags(
      program
        .command('watch <services...>')
        .summary('follow the instances of services')
        .description(
          'Prints the instances of services, and then each change, until it is ended. It goes on on another server when one ends.',
        ),
    ),
    async (session, ...services) => {
      const { watchInstances } = await import('../actions/watch-instances.js');
      await watchInstances(session, services.flat(), filterOf({ ...session.flags, all: session.flags.all ?? true }));
    },
  ).addHelpText('after', example('rollcall watch pay', 'rollcall watch pay cart -o json'));

  remote<RegisterFlags>(registerFlags(program), async (session, service) => {
    const { keepRegistered } = await import('../actions/keep-registered.js');
    await keepRegistered(session, instanceOf(session, service));
  }).addHelpText(
    'after',
    example(
      'rollcall register pay --address 10.0.0.7 --port 8080',
      'rollcall register db --static --address 10.0.0.9 --port 5432',
    ),
  );

  remote<{ incarnation?: string; comment?: string }>(
    program
      .command('deregister <service> <id>')
      .summary('remove an instance')
      .description('Removes an instance for good: the run of the process that registered it cannot come back.')
      .option('--incarnation <incarnation>', 'only if the instance has this incarnation')
      .option('--comment <text>', 'the reason, for the audit'),
    async ({ client, show, namespace, signal, flags: { incarnation, comment = '' } }, service, id) => {
      const given = incarnation === undefined ? {} : { incarnation };
      const answer = await client.registry.deregister({ namespace, service, id: id, comment, ...given }, { signal });
      await show('registry.deregister', answer, () => `${service}/${id} is removed, revision ${answer.revision}\n`);
    },
  ).addHelpText('after', example('rollcall deregister pay p1 --comment "wrong address"'));
}

interface RegisterFlags {
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

function registerFlags(program: Command): Command {
  return program
    .command('register <service>')
    .summary('register an instance, and beat for it')
    .description(
      'Registers an instance and sends its heartbeats until it is ended (Ctrl-C or SIGTERM); then it reports DRAINING and removes the instance. With --static it registers and ends: such an instance needs no heartbeats.',
    )
    .requiredOption('--address <address>', 'IP address or name at which the instance is reached')
    .option('--id <id>', 'id of the instance (default: drawn by this command)')
    .option('--port <port>', 'port of the instance', wholeNumber(0, 65_535))
    .option('--tag <tag>', 'tag; may be repeated', several)
    .option('--metadata <key=value>', 'metadata; may be repeated', keyValue)
    .option('--instance-version <version>', 'version of the service')
    .option('--region <region>', 'region in which the instance runs')
    .option('--zone <zone>', 'zone in which the instance runs')
    .option('--weight <weight>', 'share of the traffic, relative to the others', wholeNumber(0, 1_000_000))
    .option(
      '--ttl <seconds>',
      'seconds without a heartbeat after which it counts as silent, 2 to 600',
      wholeNumber(2, 600),
    )
    .option('--static', 'the instance sends no heartbeats and stays until it is removed');
}

function instanceOf({ namespace, flags }: Session<RegisterFlags>, service: string | undefined) {
  const { address, port = 0, tag = [], metadata = {}, instanceVersion = '', region = '', zone = '' } = flags;
  if (service === undefined) throw new CommandFailed('the service is missing', Exit.USAGE);
  return {
    ...{ namespace, service, address, port, tags: [...tag], version: instanceVersion },
    metadata: new Map(Object.entries(metadata)),
    ...(flags.id !== undefined && { id: flags.id }),
    ...((region !== '' || zone !== '') && { locality: { region, zone, subZone: '' } }),
    ...(flags.weight !== undefined && { weight: flags.weight }),
    ...(flags.ttl !== undefined && { ttl: { seconds: BigInt(flags.ttl), nanos: 0 } }),
    ...(flags.static && { liveness: 2 }),
  };
}

/** A number that a person should see if it is not zero. */
const count = (n: number, color: 'yellow' | 'red' | 'gray'): Cell => (n === 0 ? '0' : { text: String(n), color });
