import type { Command } from 'commander';
import type { FilterFlags, RegisterFlags } from '../actions/registry.js';
import { checkFlags } from './checks.js';
import { example } from '../output.js';
import { keyValue, remote, several, wholeNumber } from '../session.js';

function filterFlags(command: Command): Command {
  return command
    .option('--tag <tag>', 'only instances with this tag; may be repeated', several)
    .option('--metadata <key=value>', 'only instances with this metadata; may be repeated', keyValue)
    .option('--instance-version <version>', 'only instances of this version')
    .option('--zone <zone>', 'only instances of this zone');
}

/** Commands that read and change the registry. */
export function registryCommands(program: Command): void {
  remote(
    program
      .command('namespaces')
      .summary('list namespaces')
      .description('Lists the namespaces that have a service or a config.'),
    async (session) => {
      const { listNamespaces } = await import('../actions/registry.js');
      await listNamespaces(session);
    },
  ).addHelpText('after', example('rollcall namespaces'));

  remote(
    program
      .command('services')
      .summary('list services')
      .description('Lists the services of a namespace and the health of their instances.'),
    async (session) => {
      const { listServices } = await import('../actions/registry.js');
      await listServices(session);
    },
  ).addHelpText('after', example('rollcall services --namespace shop'));

  remote<FilterFlags & { address?: string }>(
    filterFlags(
      program
        .command('instances [service]')
        .summary('list instances of every health')
        .description(
          'Lists every instance of a service, or of all services of the namespace, also those that Discover hides because of their health.',
        ),
    ).option('--address <address>', 'only instances at this address'),
    async (session, service) => {
      const { listInstances } = await import('../actions/registry.js');
      await listInstances(session, service);
    },
  ).addHelpText(
    'after',
    example(
      'rollcall instances pay',
      'rollcall instances --address 10.0.3.7',
      'rollcall instances pay --tag canary -o json',
    ),
  );

  remote<FilterFlags & { subset?: number; subsetKey?: string }>(
    filterFlags(
      program
        .command('discover <service>')
        .summary('show the instances that clients get')
        .description('Shows the instances of a service as a client gets them.'),
    )
      .option('-a, --all', 'also instances that are unhealthy or draining')
      .option('--subset <size>', 'only so many instances, the same ones for the same key', wholeNumber(1, 100_000))
      .option('--subset-key <key>', 'key of the subset', ''),
    async (session, service) => {
      const { discover } = await import('../actions/registry.js');
      await discover(session, service);
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
    ).option('-a, --all', 'also instances that are unhealthy or draining'),
    async (session, ...services) => {
      const { watch } = await import('../actions/registry.js');
      await watch(session, services.flat());
    },
  ).addHelpText('after', example('rollcall watch pay', 'rollcall watch pay cart -o json'));

  remote<RegisterFlags>(checkFlags(registerFlags(program)), async (session, service) => {
    const { register } = await import('../actions/registry.js');
    await register(session, service);
  }).addHelpText(
    'after',
    example(
      'rollcall register pay --address 10.0.0.7 --port 8080',
      'rollcall register db --static --address 10.0.0.9 --port 5432 --check-tcp',
    ),
  );

  remote<{ incarnation?: string; comment?: string }>(
    program
      .command('deregister <service/id>')
      .summary('remove an instance')
      .description('Removes an instance for good: the run of the process that registered it cannot come back.')
      .option('--incarnation <incarnation>', 'only if the instance has this incarnation')
      .option('--comment <text>', 'the reason, for the audit'),
    async (session, name) => {
      const { deregister } = await import('../actions/registry.js');
      await deregister(session, name);
    },
  ).addHelpText('after', example('rollcall deregister pay/p1 --comment "wrong address"'));
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
