import { CallError } from '../../client/call-error.js';
import { type InstanceOverride, OverrideState } from '../../gen/rollcall/v1/override.js';
import { fromTimestamp } from '../../model/time.js';
import { CommandFailed, Exit } from '../exits.js';
import { instanceNamed } from '../names.js';
import { type Cell, plain, table } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, everyPage, inTime, stateOf } from '../shown.js';
import { awaitDelivery } from './watchers.js';

/** How long `drain --wait` waits for requests under way once every watch has been sent the change. */
const GRACE_S = 30;
/** The largest weight. */
const WEIGHT_MAX = 10_000;

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

/** Drains an instance. */
export async function drain(session: Session<OverrideFlags>, name: string): Promise<void> {
  const { client, namespace, signal, flags, say } = session;
  if (flags.grace !== undefined && !flags.wait)
    throw new CommandFailed('--grace needs --wait: it begins when every watch has been sent the change', Exit.USAGE);
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

/** Sets the weight of an instance. */
export async function weigh(session: Session<OverrideFlags>, name: string, text: string): Promise<void> {
  const weight = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (!(weight <= WEIGHT_MAX))
    throw new CommandFailed(`${JSON.stringify(text)} must be a weight, 0 to ${WEIGHT_MAX}`, Exit.USAGE);
  const weighing = { ...session, flags: { ...session.flags, weight } };
  await setOverride(weighing, name, OverrideState.OVERRIDE_STATE_UNSPECIFIED, session.flags.run === true);
}

/** The states by strength: a weaker override replaces a stronger one only with --force. */
const STRENGTH: readonly OverrideState[] = [
  OverrideState.OVERRIDE_STATE_UNSPECIFIED,
  OverrideState.OVERRIDE_STATE_DRAIN,
  OverrideState.OVERRIDE_STATE_DISABLE,
];

/** The override of an instance that is in force. */
async function inForce(
  { client, namespace, signal }: Session<unknown>,
  { service, id }: { readonly service: string; readonly id: string },
): Promise<InstanceOverride | undefined> {
  const { overrides } = await everyPage(
    (page) => client.registry.listInstanceOverrides({ ...page, namespace, service }, { signal }),
    'overrides',
  );
  return overrides.find((one) => one.id === id);
}

async function setOverride(
  session: Session<OverrideFlags>,
  name: string,
  state: OverrideState,
  ofRun: boolean,
): Promise<bigint> {
  const { client, show, namespace, signal, flags } = session;
  const names = { namespace, ...instanceNamed(name) };
  const before = await inForce(session, names);
  if (before && STRENGTH.indexOf(before.state) > STRENGTH.indexOf(state) && !flags.force)
    throw new CommandFailed(
      `${name} is ${wordsOf(before)} (${plain(before.comment)}): end that first, or replace it with --force`,
      Exit.CONFLICT,
    );
  const run = ofRun ? (await client.registry.getInstance(names, { signal })).instance!.incarnation : undefined;
  const { comment, for: forS, weight, force = false } = flags;
  const request = {
    ...{ ...names, state, comment, force, expectedRevision: before?.revision ?? 0n },
    ...(run !== undefined && { incarnation: run }),
    ...(weight !== undefined && { weight }),
    ...(forS !== undefined && { expireAfter: { seconds: BigInt(forS), nanos: 0 } }),
  };
  const answer = await client.registry.setInstanceOverride(request, { signal }).catch((error: unknown) => {
    if (error instanceof CallError && error.reason === 'WOULD_EMPTY')
      throw new CommandFailed(
        `${error.message.replace('"force" is set', '--force is given')} (WOULD_EMPTY)`,
        Exit.FAILED,
      );
    throw error;
  });
  await show('registry.setInstanceOverride', answer, () => {
    const now = answer.instance
      ? `is ${stateOf(answer.instance)}`
      : 'is not registered, and will be so when it comes back';
    const holds = run === undefined ? 'every process with this id' : 'this run of the process';
    const instead = before ? `; it replaces: ${wordsOf(before)} (${plain(before.comment)})` : '';
    return `${name} ${now}; this holds for ${holds}, revision ${answer.revision}${instead}\n`;
  });
  return answer.revision;
}

/** The state that each command sets. */
const STATES = {
  drain: OverrideState.OVERRIDE_STATE_DRAIN,
  disable: OverrideState.OVERRIDE_STATE_DISABLE,
  weight: OverrideState.OVERRIDE_STATE_UNSPECIFIED,
} as const;

/** Ends what a command did to an instance. Does nothing if that is not in force; another override stays. */
export async function clearOverride(
  session: Session<{ comment?: string }>,
  name: string,
  of: keyof typeof STATES,
): Promise<void> {
  const { client, show, namespace, signal, flags, say } = session;
  const { comment = '' } = flags;
  const names = { namespace, ...instanceNamed(name) };
  const before = await inForce(session, names);
  if (!before) {
    await client.registry.getInstance(names, { signal });
    return say(`${name} has no override in force\n`);
  }
  if (before.state !== STATES[of])
    throw new CommandFailed(`${name} is ${wordsOf(before)} (${plain(before.comment)}); that stays`, Exit.CONFLICT);
  const request = { ...names, comment, expectedRevision: before.revision };
  const answer = await client.registry.clearInstanceOverride(request, { signal });
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
