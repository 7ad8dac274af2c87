import { type Ground, Presence, type TransitionSource, type WhyResponse } from '../../gen/rollcall/v1/admin_service.js';
import { type Cause, TestimonyKind } from '../../gen/rollcall/v1/cause.js';
import { Health, HealthReason, type Instance, Liveness } from '../../gen/rollcall/v1/instance.js';
import { type Transition, TransitionKind } from '../../gen/rollcall/v1/transition.js';
import { LIMITS } from '../../model/limits.js';
import { fromDuration, fromTimestamp } from '../../model/time.js';
import { CallError } from '../../client/call-error.js';
import type { Client } from '../../client/client.js';
import { Exit, type ExitCode } from '../exits.js';
import { instanceNamed, serviceOrInstanceNamed } from '../names.js';
import { type Cell, list, plain, table, warn } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, lastProbe, stateOf } from '../shown.js';

/** The wait before the events are followed again. */
const AGAIN_MS = 1_000;

/** The flags of why. */
export interface WhyFlags {
  readonly tag?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly instanceVersion?: string;
  readonly zone?: string;
  readonly subset?: number;
  readonly subsetKey?: string;
  readonly incarnation?: string;
}

const EXITS: Readonly<Record<number, ExitCode>> = {
  [Presence.PRESENCE_SHOWN]: Exit.OK,
  [Presence.PRESENCE_HIDDEN]: Exit.HIDDEN,
  [Presence.PRESENCE_REMOVED]: Exit.REMOVED,
};

/** Shows why an instance is shown or not. */
export async function why({ client, show, namespace, signal, flags }: Session<WhyFlags>, name: string): Promise<void> {
  const { tag = [], metadata = {}, instanceVersion = '', zone, subset: size, subsetKey: key = '', incarnation } = flags;
  const hasFilter = tag.length + Object.keys(metadata).length > 0 || instanceVersion !== '' || zone !== undefined;
  const filter = {
    ...{ tags: [...tag], metadata: new Map(Object.entries(metadata)), version: instanceVersion },
    ...(zone !== undefined && { locality: { region: '', zone, subZone: '' } }),
  };
  const request = {
    ...{ namespace, ...instanceNamed(name) },
    ...(hasFilter && { filter }),
    ...(size !== undefined && { subset: { size, key } }),
    ...(incarnation !== undefined && { incarnation }),
  };
  const answer = await client.admin.why(request, { signal });
  if (answer.unanswered.length > 0) warn(`these servers did not answer: ${answer.unanswered.join(', ')}`);
  const checks = answer.instance && (await probesOf(client, answer.instance, signal));
  await show('admin.why', answer, () => picture(name, answer) + (checks ?? ''));
  process.exitCode = EXITS[answer.presence] ?? Exit.NOT_FOUND;
}

/** The last probe of each check of an instance, and what holds it up. Empty without checks, or without the right to see them. */
async function probesOf(client: Client, { namespace, service, id }: Instance, signal: AbortSignal): Promise<string> {
  const answer = await client.registry.getCheckResults({ namespace, service, id }, { signal }).catch(() => undefined);
  if (!answer || answer.checks.length === 0) return '';
  return `\n${table(['CHECK', 'LAST PROBE', 'OUTCOME', 'NOTE'], answer.checks.map(lastProbe))}`;
}

function picture(name: string, answer: WhyResponse): string {
  const { presence, instance, grounds, heard, similar, transitions, sources } = answer;
  const [first, ...others] = grounds;
  const word = Presence[presence].replace('PRESENCE_', '');
  const state = instance ? `: ${stateOf(instance)}` : '';
  return [
    `${name}  ${word}${state}\n`,
    first ? `\n${first.ok ? ' ' : '!'} ${plain(first.text)}${sinceOf(first)}\n` : '',
    ...others.map((one) => `${one.ok ? ' ' : '-'} ${plain(one.text)}${sinceOf(one)}\n`),
    heard.length > 0 && instance && instance.liveness !== Liveness.LIVENESS_STATIC
      ? `\n${list([['heard', heard.map(({ node, age }) => `${plain(node)} ${age ? `${(fromDuration(age) / 1_000).toFixed(1)} s ago` : 'never'}`).join(', ')]])}`
      : '',
    similar.length > 0 ? `\nsimilar: ${similar.map(plain).join(', ')}\n` : '',
    transitions.length > 0 ? `\n${tableOf(transitions)}` : '',
    sources.length > 0 ? `${completeOf(sources)}\n` : '',
  ].join('');
}

const sinceOf = ({ since, revision }: Ground): string =>
  since ? `  (${agoOf(since)}${revision > 0n ? `, revision ${revision}` : ''})` : '';

/** Lists the newest transitions. */
export async function listEvents(session: Session<{ limit?: number; follow?: boolean }>, name = ''): Promise<void> {
  const { service, id } = serviceOrInstanceNamed(name);
  const { client, show, namespace, signal, flags } = session;
  const { limit = 50, follow = false } = flags;
  if (follow) return followEvents(session, { namespace, service, id });
  const transitions: Transition[] = [];
  let pageToken = '';
  for (;;) {
    const pageSize = Math.min(limit - transitions.length, LIMITS.PAGE_SIZE.value);
    const answer = await client.admin.listTransitions({ namespace, service, id, pageSize, pageToken }, { signal });
    transitions.push(...answer.transitions);
    pageToken = answer.nextPageToken;
    if (pageToken !== '' && transitions.length < limit) continue;
    if (answer.unanswered.length > 0) warn(`these servers did not answer: ${answer.unanswered.join(', ')}`);
    await show('admin.listTransitions', { ...answer, transitions }, () =>
      [tableOf(transitions), `${completeOf(answer.sources)}\n`].join(''),
    );
    return;
  }
}

/** Prints the transitions that a server sees, one line or document each, until the command is ended. */
async function followEvents(
  { client, show, signal, format }: Session<unknown>,
  scope: { readonly namespace: string; readonly service: string; readonly id: string },
): Promise<void> {
  let token = '';
  while (!signal.aborted) {
    try {
      for await (const message of client.admin.watchTransitions({ ...scope, token }, { signal })) {
        if (token === '') warn(`the events of ${message.node} follow`);
        token = message.token;
        if (message.gap) warn(`events before these may be missing here; "rollcall events" lists them`);
        if (message.transitions.length === 0) continue;
        if (format === 'table') process.stdout.write(message.transitions.map(lineOf).join(''));
        else await show('admin.watchTransitions', message, () => '');
      }
    } catch (error) {
      if (!(error instanceof CallError) || !error.isPassing) throw error;
      warn(`no server answers: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

const lineOf = (one: Transition): string =>
  `${new Date(fromTimestamp(one.time!)).toTimeString().slice(0, 8)}  ${cellsOf(one)
    .map((cell) => (typeof cell === 'string' ? cell : cell.text))
    .slice(1)
    .join('  ')}\n`;

function tableOf(transitions: readonly Transition[]): string {
  return table(['TIME', 'REVISION', 'EVENT', 'OBJECT', 'HEALTH', 'BY', 'DETAILS'], transitions.map(cellsOf));
}

const cellsOf = (one: Transition): Cell[] => [
  agoOf(one.time),
  String(one.revision),
  TransitionKind[one.kind].replace('TRANSITION_KIND_', '').toLowerCase().replaceAll('_', ' '),
  plain(one.service === '' ? one.node : one.id === '' ? one.service : `${one.service}/${one.id}`),
  healthOf(one),
  plain([one.actor?.subject, one.actor?.address].filter(Boolean).join(' ') || one.actor?.node || '-'),
  plain([one.comment, causeOf(one.cause)].filter(Boolean).join('; ')) || '-',
];

function healthOf({ from, to, reason }: Transition): string {
  const words = (health: Health): string => Health[health].replace('HEALTH_', '');
  if (to === Health.HEALTH_UNSPECIFIED) return '-';
  const why =
    reason === HealthReason.HEALTH_REASON_UNSPECIFIED
      ? ''
      : `, ${HealthReason[reason].replace('HEALTH_REASON_', '').toLowerCase().replaceAll('_', ' ')}`;
  return from === to || from === Health.HEALTH_UNSPECIFIED
    ? `${words(to)}${why}`
    : `${words(from)} -> ${words(to)}${why}`;
}

/** The answers of servers about a check. */
const PROBED: Partial<Record<TestimonyKind, string>> = {
  [TestimonyKind.TESTIMONY_KIND_PASSED]: 'passed',
  [TestimonyKind.TESTIMONY_KIND_FAILED]: 'failed',
  [TestimonyKind.TESTIMONY_KIND_INCONCLUSIVE]: 'could not probe',
};

function causeOf(cause: Cause | undefined): string {
  if (!cause) return '';
  const probed = cause.testimonies.filter(({ kind }) => PROBED[kind] !== undefined);
  if (probed.length > 0) {
    const answers = probed.map(({ node, kind, error }) => `${node} ${PROBED[kind]}${error && ` (${error})`}`);
    return `decided by ${cause.decidedBy}: ${answers.join(', ')}`;
  }
  const answers = cause.testimonies.map(({ node, kind, age }) => {
    if (kind === TestimonyKind.TESTIMONY_KIND_HEARD) return `${node} heard it`;
    return `${node} ${age ? `${(fromDuration(age) / 1_000).toFixed(1)} s` : 'never'}`;
  });
  return `decided by ${cause.decidedBy}; last heard: ${answers.join(', ')}`;
}

/** Since when the transitions are complete, as far as all servers together know. */
function completeOf(sources: readonly TransitionSource[]): string {
  const [oldest] = [...sources].sort((a, b) => Number(a.completeSinceRevision - b.completeSinceRevision));
  if (!oldest) return '';
  const when = oldest.completeSince ? `, ${new Date(fromTimestamp(oldest.completeSince)).toISOString()}` : '';
  return `complete since revision ${oldest.completeSinceRevision}${when}`;
}
