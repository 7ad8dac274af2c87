import type { Command } from 'commander';
import type { CheckFlags } from '../actions/checks.js';
import { example } from '../output.js';
import { remote, wholeNumber } from '../session.js';
import { upTo } from '../times.js';

/** The flags that define one check. */
export function checkFlags(command: Command): Command {
  return command
    .option('--check-http <path>', 'probe this path by HTTP')
    .option('--check-tcp', 'probe by opening a connection')
    .option('--check-grpc [service]', 'probe by grpc.health.v1.Health, of the server or of one of its services')
    .option('--check-endpoint <name>', 'probe this endpoint of the instance (default: its port)')
    .option('--check-tls', 'probe with TLS')
    .option('--check-interval <time>', 'time between two probes, 2s to 10m (default: 10s)', upTo('10m'))
    .option('--check-timeout <time>', 'how long a probe may take, 1s to 30s (default: 3s)', upTo('30s'))
    .option(
      '--check-failures <count>',
      'failed probes in a row before the others are asked (default: 3)',
      wholeNumber(1, 10),
    )
    .option('--check-passes <count>', 'passed probes in a row that heal (default: 2)', wholeNumber(1, 10))
    .option(
      '--check-removes-after <time>',
      'remove the instance after it has failed for this time: 1m to 7d, and five times what finding it takes (default: never)',
      upTo('7d'),
    );
}

/** Commands about health checks. */
export function checkCommands(program: Command): void {
  const checks = program
    .command('checks')
    .summary('show, define and release health checks')
    .description('Shows, defines and releases the health checks by which the servers probe instances.');

  remote(
    checks
      .command('show <service[/id]>')
      .summary('show the verdicts on checks')
      .description(
        'Shows the verdict on the checks of the instances of a service or, of one instance, its last probes.',
      ),
    async (session, name) => {
      const { showChecks } = await import('../actions/checks.js');
      await showChecks(session, name);
    },
  ).addHelpText('after', example('rollcall checks show pay', 'rollcall checks show pay/p1'));

  remote<CheckFlags & { comment?: string }>(
    checkFlags(
      checks
        .command('set <service>')
        .summary('define the check of a service')
        .description(
          'Defines one check for the instances of a service that define none. Those that are registered already are taken for passing until it fails. With several checks, or other fields, call SetServiceChecks.',
        ),
    ).option('--comment <text>', 'the reason'),
    async (session, service) => {
      const { setChecks } = await import('../actions/checks.js');
      await setChecks(session, service);
    },
  ).addHelpText('after', example('rollcall checks set pay --check-http /health --check-interval 5s'));

  remote<{ comment?: string }>(
    checks
      .command('clear <service>')
      .summary('end the check of a service')
      .description('Ends the checks that an operator has defined for a service, and their verdicts.')
      .option('--comment <text>', 'the reason'),
    async (session, service) => {
      const { clearChecks } = await import('../actions/checks.js');
      await clearChecks(session, service);
    },
  ).addHelpText('after', example('rollcall checks clear pay'));

  remote<{ comment: string; all?: true }>(
    checks
      .command('release [service[/id]]')
      .summary('take instances for passing until a check fails again')
      .description(
        'The way out when a check is wrong: instances whose checks are pending or have failed are shown again.',
      )
      .option('--all', 'the instances of every service of the namespace')
      .requiredOption('--comment <text>', 'the reason (required)'),
    async (session, name) => {
      const { releaseChecks } = await import('../actions/checks.js');
      await releaseChecks(session, name);
    },
  ).addHelpText('after', example('rollcall checks release pay --comment "the path was wrong"'));
}
