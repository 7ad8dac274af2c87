import { CallError } from '../../client/call-error.js';
import { type InstanceOverride, OverrideState } from '../../gen/rollcall/v1/override.js';
import { fromTimestamp } from '../../model/time.js';
import { CommandFailed, Exit } from '../exits.js';
import { type Cell, plain, table } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, everyPage, inTime, stateOf } from '../shown.js';
import { awaitDelivery } from './watchers.js';

/** How long `drain --wait` waits for requests under way once every watch has been sent the change. */
const GRACE_S = 30;

/** The flags of drain and disable. */
export interface OverrideFlags {
  readonly comment: string;
  /** Seconds. */
  readonly for?: number;
  readonly weight?: number;
  readonly force?: boolean;
  readonly id?: boolean;
  readonly run?: boolean;
  readonly wait?: boolean;
  /** Seconds. */
  readonly grace?: number;
}

/** The service and the id in "SERVICE/ID". Throws CommandFailed. */
export function instanceNamed(name: string): { service: string; id: string } {
  const at = name.indexOf('/');
  if (at <= 0 || at === name.length - 1)
    throw new CommandFailed(`${JSON.stringify(name)} must be SERVICE/ID, such as pay/p1`, Exit.USAGE);
  return { service: name.slice(0, at), id: name.slice(at + 1) };
}

/** Drains an instance. */
export async function drain(session: Session<OverrideFlags>, name: string): Promise<void> {
  const { client, namespace, signal, flags, say } = session;
  const revision = await setOverride(session, name, OverrideState.OVERRIDE_STATE_DRAIN, !flags.id);
  if (!flags.wait) return;
  await awaitDelivery(client, { namespace, service: instanceNamed(name).service, revision }, signal, say);
  const { grace = GRACE_S } = flags;
  if (grace > 0) say(`${grace} s for the requests under way\n`);
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, grace * 1_000);
    signal.addEventListener('abort', () => resolve(clearTimeout(timer)), { once: true });
  });
  if (signal.aborted) throw new CommandFailed('ended before the requests under way had their time');
}

/** Disables an instance. */
export async function disable(session: Session<OverrideFlags>, name: string): Promise<void> {
  await setOverride(session, name, OverrideState.OVERRIDE_STATE_DISABLE, session.flags.run === true);
}

async function setOverride(
  { client, show, namespace, signal, flags }: Session<OverrideFlags>,
  name: string,
  state: OverrideState,
  ofRun: boolean,
): Promise<bigint> {
  const names = { namespace, ...instanceNamed(name) };
  const run = ofRun ? (await client.registry.getInstance(names, { signal })).instance!.incarnation : undefined;
  const { comment, for: forS, weight, force = false } = flags;
  const request = {
    ...{ ...names, state, comment, force },
    ...(run !== undefined && { incarnation: run }),
    ...(weight !== undefined && { weight }),
    ...(forS !== undefined && { expireAfter: { seconds: BigInt(forS), nanos: 0 } }),
  };
  const answer = await client.registry.setInstanceOverride(request, { signal }).catch((error: unknown) => {
    if (error instanceof CallError && error.reason === 'WOULD_EMPTY')
      throw new CommandFailed(`${error.message}; --force sets it`, Exit.FAILED);
    throw error;
  });
  await show('registry.setInstanceOverride', answer, () => {
    const now = answer.instance
      ? `is ${stateOf(answer.instance)}`
      : 'is not registered, and will be so when it comes back';
    const holds = run === undefined ? 'for every process with this id' : 'for this run of the process';
    return `${name} ${now}, ${holds}, revision ${answer.revision}\n`;
  });
  return answer.revision;
}

/** Ends the override of an instance. */
export async function clearOverride(
  { client, show, namespace, signal, flags: { comment = '' } }: Session<{ comment?: string }>,
  name: string,
): Promise<void> {
  const names = { namespace, ...instanceNamed(name) };
  const answer = await client.registry.clearInstanceOverride({ ...names, comment }, { signal });
  await show('registry.clearInstanceOverride', answer, () => {
    const now = answer.instance ? `is ${stateOf(answer.instance)}` : 'is not registered';
    return `${name} ${now}, revision ${answer.revision}\n`;
  });
}

/** Lists the overrides in force. */
export async function listOverrides(
  { client, show, namespace, signal }: Session<unknown>,
  service: string | undefined,
): Promise<void> {
  const scope = { namespace, ...(service !== undefined && { service }) };
  const answer = await everyPage(
    (page) => client.registry.listInstanceOverrides({ ...page, ...scope }, { signal }),
    'overrides',
  );
  await show('registry.listInstanceOverrides', answer, () =>
    table(
      ['INSTANCE', 'OVERRIDE', 'FOR', 'SINCE', 'ENDS', 'BY', 'COMMENT'],
      answer.overrides.map((one): Cell[] => [
        `${one.service}/${one.id}`,
        { text: wordsOf(one), color: one.state === OverrideState.OVERRIDE_STATE_DISABLE ? 'red' : 'yellow' },
        one.incarnation === '' ? 'the id' : 'this run',
        agoOf(one.setTime),
        one.expireTime ? inTime(fromTimestamp(one.expireTime)) : 'never',
        plain(one.actor?.subject ?? '') || '-',
        plain(one.comment),
      ]),
    ),
  );
}

function wordsOf({ state, weight }: InstanceOverride): string {
  const words = {
    [OverrideState.OVERRIDE_STATE_DRAIN]: 'drained',
    [OverrideState.OVERRIDE_STATE_DISABLE]: 'disabled',
  } as Readonly<Record<number, string>>;
  return [words[state], weight !== undefined && `weight ${weight}`].filter(Boolean).join(', ');
}
