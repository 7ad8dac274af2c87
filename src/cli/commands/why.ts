import type { Command } from 'commander';
import { example } from '../output.js';
import { keyValue, remote, several, wholeNumber } from '../session.js';
import type { WhyFlags } from '../actions/why.js';

/** Commands that show why clients see what they see. */
export function whyCommands(program: Command): void {
  remote<WhyFlags>(
    program
      .command('why <service/id>')
      .summary('why an instance is shown to clients, or not')
      .description(
        'Shows every ground on which an instance is shown to clients or not, the deciding one first, and how it came about. The exit code says which: 0 shown, 9 hidden, 10 removed, 4 unknown.',
      )
      .option('--tag <tag>', 'as a client sees it that asks for this tag; may be repeated', several)
      .option('--metadata <key=value>', 'as for --tag; may be repeated', keyValue)
      .option('--instance-version <version>', 'as for --tag')
      .option('--zone <zone>', 'as for --tag')
      .option('--subset <size>', 'as a client sees it that asks for so many', wholeNumber(1, 10_000))
      .option('--subset-key <key>', 'key of the subset', '')
      .option('--incarnation <incarnation>', 'of this run of the process'),
    async (session, name) => {
      const { why } = await import('../actions/why.js');
      await why(session, name);
    },
  ).addHelpText('after', example('rollcall why pay/p1', 'rollcall why pay/p1 --tag canary'));

  remote<{ limit?: number; follow?: boolean }>(
    program
      .command('events [service[/id]]')
      .summary('list what happened to instances')
      .description('Lists the newest transitions of instances, protections and servers, as all servers remember them.')
      .option('--limit <count>', 'so many (default: 50)', wholeNumber(1, 100_000))
      .option('-f, --follow', 'print those of the server that answers from now on, until it is ended'),
    async (session, name) => {
      const { listEvents } = await import('../actions/why.js');
      await listEvents(session, name);
    },
  ).addHelpText(
    'after',
    example('rollcall events', 'rollcall events pay/p1 --limit 10', 'rollcall events --follow -n shop'),
  );
}
