import type { Duration } from '../../gen/google/protobuf/duration.js';
import { type ClusterStatus, MembershipState, type Postponement } from '../../gen/rollcall/v1/admin_service.js';
import { fromDuration, fromTimestamp } from '../../model/time.js';
import { type Cell, counted, list, plain, table, warn } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, everyPage, inTime } from '../shown.js';

/** Shows the state of a server and its cluster. */
export async function showStatus({ client, show, signal }: Session<unknown>): Promise<void> {
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
              ...(store.staleFor ? [`answers may be ${seconds(store.staleFor)} old`] : []),
            ].join(', '),
        ],
        [
          'holds',
          counts &&
            `${counted(counts.services, 'service')}, ${counted(counts.instances, 'instance')}, ${counted(counts.configs, 'config')} in ${counted(counts.namespaces, 'namespace')}; ${counts.watches === 1 ? '1 watch' : `${counts.watches} watches`}`,
        ],
        [
          'protected',
          counts && counts.protectedServices > 0
            ? { text: counted(counts.protectedServices, 'service'), color: 'yellow' }
            : undefined,
        ],
        ['cluster', cluster && clusterWords(cluster)],
        [
          'heartbeats',
          cluster && cluster.fenced !== '' ? { text: `not acknowledged (${cluster.fenced})`, color: 'red' } : undefined,
        ],
        [
          'verdicts',
          answer.verdictsPostponed.length > 0
            ? { text: `postponed: ${answer.verdictsPostponed.map(postponementWords).join('; ')}`, color: 'yellow' }
            : undefined,
        ],
      ]),
      cluster && cluster.replicas.length > 0
        ? `\n${table(
            ['NODE', 'ADDRESS', 'JUDGES', 'STATE'],
            cluster.replicas.map((one): Cell[] => [
              plain(one.node),
              one.address,
              counted(one.judgedServices, 'service'),
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
}

const seconds = (duration: Duration): string => `${(fromDuration(duration) / 1_000).toFixed(0)} s`;

function clusterWords({ state, waitingUntil }: ClusterStatus): string {
  const word = (MembershipState[state] ?? '').replace('MEMBERSHIP_STATE_', '').toLowerCase();
  return waitingUntil ? `${word}, joins ${inTime(fromTimestamp(waitingUntil))} at the latest` : word;
}

const postponementWords = ({ reason, since, until }: Postponement): string =>
  `${reason} (since ${agoOf(since)}${until ? `, ends ${inTime(fromTimestamp(until))}` : ''})`;

/** Shows the caller as the server sees it. */
export async function whoAmI({ client, show, signal }: Session<unknown>): Promise<void> {
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
}

/** Shows the newest events of the audit. */
export async function listEvents({
  client,
  show,
  signal,
  flags: { principal = '', method = '', resource = '', failures = false },
}: Session<{ principal?: string; method?: string; resource?: string; failures?: boolean }>): Promise<void> {
  const request = { principal, method, resource, failuresOnly: failures };
  const answer = await everyPage((page) => client.admin.listAuditEvents({ ...page, ...request }, { signal }), 'events');
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
}

/** Ends the protection of a service. */
export async function releaseProtection(
  { client, show, namespace, signal, flags: { comment = '' } }: Session<{ comment?: string }>,
  service: string,
): Promise<void> {
  const answer = await client.admin.releaseProtection({ namespace, service, comment }, { signal });
  await show(
    'admin.releaseProtection',
    answer,
    () => `${service} is not protected any more, revision ${answer.revision}\n`,
  );
}

/** Forgets a server. */
export async function forgetMember({ client, show, signal }: Session<unknown>, node: string): Promise<void> {
  const answer = await client.admin.forgetMember({ node }, { signal });
  await show('admin.forgetMember', answer, () => `${node} is forgotten, revision ${answer.revision}\n`);
}
