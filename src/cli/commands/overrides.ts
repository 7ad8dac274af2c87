import type { Command } from 'commander';
import type { OverrideFlags } from '../actions/overrides.js';
import { example } from '../output.js';
import { remote, wholeNumber } from '../session.js';
import { upTo } from '../times.js';

function overrideFlags(command: Command): Command {
  return command
    .requiredOption('--comment <text>', 'the reason, for a person who finds the override later (required)')
    .option('--for <time>', 'end it by itself after a time, such as 30m, 2h or 7d; 30d at most', upTo('30d'));
}

function stateFlags(command: Command): Command {
  return overrideFlags(command)
    .option('--weight <weight>', 'also set the weight', wholeNumber(0, 10_000))
    .option('--force', 'also if it leaves less than 30 % of the service up, or replaces a stronger override');
}

/** Commands with which an operator takes instances out of traffic, and back. */
export function overrideCommands(program: Command): void {
  remote<OverrideFlags>(
    stateFlags(
      program
        .command('drain <service/id>')
        .summary('take an instance out of new work')
        .description(
          'Drains an instance: it finishes its work and gets no new work. It ends after 24 h unless --for says otherwise, and when another process registers with the id.',
        ),
    )
      .option('--id', 'drain every process that registers with the id')
      .option('--wait', 'wait until every watch has been sent the change, and for --grace after it')
      .option(
        '--grace <time>',
        'how long requests under way may take after it, 24h at most (default: 30s)',
        upTo('24h'),
      ),
    async (session, name) => {
      const { drain } = await import('../actions/overrides.js');
      await drain(session, name);
    },
  ).addHelpText(
    'after',
    example(
      'rollcall drain pay/p1 --comment "new disk"',
      'rollcall drain pay/p1 --wait --comment deploy && kill -TERM "$PID"',
    ),
  );

  remote<OverrideFlags>(
    stateFlags(
      program
        .command('disable <service/id>')
        .summary('take an instance out of service')
        .description(
          'Makes an instance UNHEALTHY whatever its process says, also after a restart or a new registration, until "enable" or --for ends it.',
        ),
    ).option('--run', 'only this run of the process: another one that registers with the id is not disabled'),
    async (session, name) => {
      const { disable } = await import('../actions/overrides.js');
      await disable(session, name);
    },
  ).addHelpText('after', example('rollcall disable pay/p1 --comment "bad memory" --for 7d'));

  remote<OverrideFlags>(
    overrideFlags(
      program
        .command('weight <service/id> <weight>')
        .summary('set the weight of an instance')
        .description(
          'Sets the weight that counts in place of the registered one, 0 to 10000. With 0 the instance is listed and gets no traffic. "unweight" ends it.',
        ),
    )
      .option('--run', 'only for this run of the process')
      .option(
        '--force',
        'also if a weight of 0 leaves less than 30 % of the service with traffic, or replaces a drain or a disable',
      ),
    async (session, name, weight) => {
      const { weigh } = await import('../actions/overrides.js');
      await weigh(session, name, weight);
    },
  ).addHelpText('after', example('rollcall weight pay/p1 10 --comment "small machine"'));

  for (const [name, of] of [
    ['undrain', 'drain'],
    ['enable', 'disable'],
    ['unweight', 'weight'],
  ] as const)
    remote<{ comment?: string }>(
      program
        .command(`${name} <service/id>`)
        .summary(`end what "${of}" did`)
        .description(`Ends what "${of}" did to an instance. Its process and the verdicts count again at once.`)
        .option('--comment <text>', 'the reason'),
      async (session, instance) => {
        const { clearOverride } = await import('../actions/overrides.js');
        await clearOverride(session, instance, of);
      },
    ).addHelpText('after', example(`rollcall ${name} pay/p1`));

  remote(
    program
      .command('overrides [service]')
      .summary('list what operators decided about instances')
      .description('Lists the overrides in force: of a service, or of every service of the namespace.'),
    async (session, service) => {
      const { listOverrides } = await import('../actions/overrides.js');
      await listOverrides(session, service);
    },
  ).addHelpText('after', example('rollcall overrides', 'rollcall overrides pay -o json'));
}
