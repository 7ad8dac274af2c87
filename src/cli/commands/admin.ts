import type { Command } from 'commander';
import { MembershipState } from '../../gen/rollcall/v1/admin_service.js';
import { counted, type Cell, list, plain, table, warn } from '../output.js';
import { remote } from '../session.js';
import { agoOf, everyPage, example } from '../shown.js';

/** Commands for operators. */
export function adminCommands(program: Command): void {
  remote(
    program
      .command('status')
      .summary('show the state of the server and its cluster')
      .description('Shows the state of the server that answers, its store, its cluster and its alarms.'),
    async ({ client, show, signal }) => {
      const answer = await client.admin.getStatus({}, { signal });
      const { counts, store, cluster, alarms } = answer;
      await show('admin.getStatus', answer, () =>
        [
          list([
            ['server', `${client.address}, version ${answer.version}, started ${agoOf(answer.startTime)}`],
            ['ready', answer.ready ? { text: 'yes', color: 'green' } : { text: 'no', color: 'red' }],
            [
              'store',
              store &&
                [
                  ...(store.kind === '' ? [] : [store.kind]), // callers without the right to see all get a part
                  store.reachable ? 'reachable' : 'not reachable',
                  ...(counts ? [store.writable ? 'writable' : 'not writable', `revision ${answer.revision}`] : []),
                ].join(', '),
            ],
            [
              'holds',
              counts &&
                `${counted(counts.services, 'service')}, ${counted(counts.instances, 'instance')}, ${counted(counts.configs, 'config')} in ${counted(counts.namespaces, 'namespace')}; ${counts.watches} ${counts.watches === 1 ? 'watch' : 'watches'}`,
            ],
            [
              'protected',
              counts && counts.protectedServices > 0
                ? { text: counted(counts.protectedServices, 'service'), color: 'yellow' }
                : undefined,
            ],
            [
              'cluster',
              cluster && (MembershipState[cluster.state] ?? '').replace('MEMBERSHIP_STATE_', '').toLowerCase(),
            ],
          ]),
          cluster && cluster.replicas.length > 0
            ? `\n${table(
                ['NODE', 'ADDRESS', 'JUDGES', 'STATE'],
                cluster.replicas.map((one): Cell[] => [
                  plain(one.node),
                  one.address,
                  `${one.judgedServices} services`,
                  one.unreachable
                    ? { text: 'unreachable', color: 'red' }
                    : one.id === cluster.self
                      ? 'this server'
                      : 'reachable',
                ]),
              )}`
            : '',
          alarms.length > 0
            ? `\n${table(
                ['ALARM', 'SINCE', 'TEXT'],
                alarms.map(({ name, since, message }): Cell[] => [
                  { text: name, color: 'red' },
                  agoOf(since),
                  plain(message),
                ]),
              )}`
            : '',
        ].join(''),
      );
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
    async ({ client, show, signal }) => {
      const answer = await client.admin.getSelf({}, { signal });
      await show('admin.getSelf', answer, () =>
        answer.open
          ? `The server has no access control: every caller may do everything.\n`
          : [
              `${answer.principal}\n`,
              answer.grants.length === 0
                ? 'has no rights\n'
                : table(
                    ['ACTIONS', 'NAMESPACES', 'SERVICES', 'CONFIGS'],
                    answer.grants.map((grant) =>
                      [grant.actions, grant.namespaces, grant.services, grant.configs].map(
                        (names) => names.join(',') || '-',
                      ),
                    ),
                  ),
            ].join(''),
      );
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
    async ({ client, show, signal, flags: { principal = '', method = '', resource = '', failures = false } }) => {
      const request = { principal, method, resource, failuresOnly: failures };
      const answer = await everyPage(
        (page) => client.admin.listAuditEvents({ ...page, ...request }, { signal }),
        'events',
      );
      if (answer.unanswered.length > 0) warn(`these servers did not answer: ${answer.unanswered.join(', ')}`);
      await show('admin.listAuditEvents', answer, () =>
        table(
          ['TIME', 'CALLER', 'METHOD', 'OBJECTS', 'OUTCOME', 'COMMENT'],
          answer.events.map((event): Cell[] => [
            agoOf(event.time),
            plain(event.principal),
            event.method.split('/').pop()!,
            event.resources.map(plain).join(' ') || '-',
            event.outcome === 'OK' ? 'OK' : { text: event.outcome, color: 'yellow' },
            plain(event.comment) || '-',
          ]),
        ),
      );
    },
  ).addHelpText('after', example('rollcall audit --failures', 'rollcall audit --resource default/default/app.yaml'));

  remote<{ comment?: string }>(
    program
      .command('release-protection <service>')
      .summary('end the protection of a service')
      .description('Ends the protection of a service: its silent instances are hidden, and removed in time.')
      .option('--comment <text>', 'the reason, for the audit'),
    async ({ client, show, namespace, signal, flags: { comment = '' } }, service) => {
      const answer = await client.admin.releaseProtection({ namespace, service: service, comment }, { signal });
      await show(
        'admin.releaseProtection',
        answer,
        () => `${service} is not protected any more, revision ${answer.revision}\n`,
      );
    },
  ).addHelpText('after', example('rollcall release-protection pay --comment "the zone is gone for good"'));

  remote(
    program
      .command('forget-member <node>')
      .summary('forget a server that will not come back')
      .description(
        'Forgets a server that left without a word and will not come back, so that verdicts do not wait for it.',
      ),
    async ({ client, show, signal }, node) => {
      const answer = await client.admin.forgetMember({ node: node }, { signal });
      await show('admin.forgetMember', answer, () => `${node} is forgotten, revision ${answer.revision}\n`);
    },
  ).addHelpText('after', example('rollcall forget-member node-3'));
}
