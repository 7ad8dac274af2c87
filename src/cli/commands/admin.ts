import type { Command } from 'commander';
import { example } from '../output.js';
import { remote } from '../session.js';

/** Commands for operators. */
export function adminCommands(program: Command): void {
  remote(
    program
      .command('status')
      .summary('show the state of the server and its cluster')
      .description('Shows the state of the server that answers, its store, its cluster and its alarms.'),
    async (session) => {
      const { showStatus } = await import('../actions/admin.js');
      await showStatus(session);
    },
  ).addHelpText('after', example('rollcall status', 'rollcall status -o json --context prod'));

  remote(
    program
      .command('top')
      .summary('show services and their changes live')
      .description(
        'Shows the services of a namespace and their newest changes on the whole terminal until it is ended. In a pipe it prints one picture.',
      ),
    async (session) => {
      const { top } = await import('../actions/top.js');
      await top(session);
    },
  ).addHelpText('after', example('rollcall top', 'rollcall top -n shop'));

  remote(
    program
      .command('whoami')
      .summary('show who the server takes you for')
      .description('Shows who the server takes the caller for, and what it may do.'),
    async (session) => {
      const { whoAmI } = await import('../actions/admin.js');
      await whoAmI(session);
    },
  ).addHelpText('after', example('rollcall whoami --token-file ./token'));

  remote<{ principal?: string; method?: string; resource?: string; failures?: boolean }>(
    program
      .command('audit')
      .summary('list the newest events of the audit')
      .description('Lists the newest events of the audit of all servers, the newest first.')
      .option('--principal <name>', 'only events of this caller')
      .option('--method <path>', 'only events of this method')
      .option('--resource <name>', 'only events of this object')
      .option('--failures', 'only calls that failed'),
    async (session) => {
      const { listEvents } = await import('../actions/admin.js');
      await listEvents(session);
    },
  ).addHelpText('after', example('rollcall audit --failures', 'rollcall audit --resource default/default/app.yaml'));

  remote<{ comment?: string }>(
    program
      .command('release-protection <service>')
      .summary('end the protection of a service')
      .description('Ends the protection of a service: its silent instances are hidden, and removed in time.')
      .option('--comment <text>', 'the reason, for the audit'),
    async (session, service) => {
      const { releaseProtection } = await import('../actions/admin.js');
      await releaseProtection(session, service);
    },
  ).addHelpText('after', example('rollcall release-protection pay --comment "the zone is gone for good"'));

  remote(
    program
      .command('forget-member <node>')
      .summary('forget a server that will not come back')
      .description(
        'Forgets a server that left without a word and will not come back, so that verdicts do not wait for it.',
      ),
    async (session, node) => {
      const { forgetMember } = await import('../actions/admin.js');
      await forgetMember(session, node);
    },
  ).addHelpText('after', example('rollcall forget-member node-3'));
}
