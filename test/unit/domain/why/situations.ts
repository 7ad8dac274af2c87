import { matcher } from '../../../../src/domain/registry/filter.js';
import type { Question } from '../../../../src/domain/why.js';
import { Health, InstanceCriteria, InstanceFilter, ReportedState } from '../../../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../../../src/gen/rollcall/v1/override.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import { Stage } from '../../../support/stage.js';
import { named, Town } from '../../../support/town.js';

/** A situation: a stage, and a question about it. Without more words the question is about pay/p1, and somebody has heard it. */
export interface Situation {
  readonly stage: Stage;
  readonly question?: Partial<Question>;
}

const TTL_MS = 5_000;
const SOON_MS = 1_500;

/** A stage with instances of "pay", all of incarnation "a". */
async function pay(...ids: readonly string[]): Promise<Stage> {
  const stage = await Stage.ready();
  for (const id of ids.length > 0 ? ids : ['p1', 'p2', 'p3'])
    await stage.until(stage.register({ id, incarnation: 'a', version: '1' }));
  return stage;
}

async function override(stage: Stage, state: OverrideState, comment: string, expireAfterMs?: number): Promise<void> {
  const decision = { state, weight: undefined, incarnation: '', expireAfterMs };
  const request = {
    namespace: 'default',
    service: 'pay',
    id: 'p1',
    decision,
    expectedRevision: undefined,
    force: true,
  };
  await stage.until(stage.replica.overrides.set(request, { ...UNSIGNED, comment }));
}

async function report(state: ReportedState, note = ''): Promise<Situation> {
  const stage = await pay();
  await stage.until(stage.beat({ incarnation: 'a', reported: { state, note } }));
  return { stage };
}

async function silent(beats: boolean): Promise<Stage> {
  const stage = await pay();
  if (beats) await stage.until(stage.beat({ incarnation: 'a' }));
  await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  return stage;
}

async function expired(): Promise<Stage> {
  const stage = await silent(true);
  await stage.untilTrue(() => stage.instance() === undefined, 20 * 60_000);
  return stage;
}

async function ofFilter(filter: Partial<InstanceFilter>): Promise<Situation> {
  return { stage: await pay(), question: { filter: InstanceFilter.fromPartial(filter) } };
}

async function protectedTown(): Promise<Stage> {
  const town = new Town(await Stage.ready());
  await town.add(named('other', 20));
  await town.add(named('pay', 8));
  await town.stage.pass(62_000);
  town.stop(named('pay', 5));
  await town.stage.pass(4_000);
  return town.stage;
}

/** Every situation, by its name. */
export const SITUATIONS: Readonly<Record<string, () => Promise<Situation>>> = {
  healthy: async () => ({ stage: await pay() }),
  silent: async () => ({ stage: await silent(true) }),
  'silent, and never heard': async () => ({ stage: await silent(false) }),
  protected: async () => ({ stage: await protectedTown() }),
  'of a protected service, and disabled': async () => {
    const stage = await protectedTown();
    await override(stage, OverrideState.OVERRIDE_STATE_DISABLE, 'no more');
    return { stage };
  },
  'without the tag of the client': () => ofFilter({ tags: ['v2'] }),
  'of another version than the client wants': () => ofFilter({ version: '2' }),
  'excluded by the client': () => ofFilter({ noneOf: [InstanceCriteria.fromPartial({ version: '1' })] }),
  'of a health that the client does not ask for': () => ofFilter({ healthStates: [Health.HEALTH_DRAINING] }),
  'drained by an operator': async () => {
    const stage = await pay();
    await override(stage, OverrideState.OVERRIDE_STATE_DRAIN, 'new disk');
    return { stage };
  },
  'disabled by an operator': async () => {
    const stage = await pay();
    await override(stage, OverrideState.OVERRIDE_STATE_DISABLE, 'bad memory', 60_000);
    return { stage };
  },
  'disabled, and silent below': async () => {
    const stage = await silent(true);
    await override(stage, OverrideState.OVERRIDE_STATE_DISABLE, 'bad memory');
    return { stage };
  },
  'drained by itself': () => report(ReportedState.REPORTED_STATE_DRAINING, 'bye'),
  starting: () => report(ReportedState.REPORTED_STATE_STARTING),
  'unhealthy by its own word': () => report(ReportedState.REPORTED_STATE_UNHEALTHY),
  degraded: () => report(ReportedState.REPORTED_STATE_DEGRADED),
  expired: async () => ({ stage: await expired() }),
  'expired, and replaced at its address': async () => {
    const stage = await Stage.ready();
    await stage.until(stage.register({ id: 'p1', address: '10.0.0.77', incarnation: 'a' }));
    await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
    await stage.until(stage.register({ id: 'p9', address: '10.0.0.77', incarnation: 'n' }));
    await stage.untilTrue(() => stage.instance() === undefined, SOON_MS);
    return { stage };
  },
  'deregistered by an operator': async () => {
    const stage = await pay();
    const ref = { namespace: 'default', service: 'pay', id: 'p1', incarnation: undefined };
    await stage.until(stage.replica.registrations.deregister(ref, { ...UNSIGNED, comment: 'wrong host' }));
    return { stage };
  },
  'deregistered by itself': async () => {
    const stage = await pay();
    await stage.until(stage.deregister({ incarnation: 'a' }));
    return { stage };
  },
  superseded: async () => {
    const stage = await pay();
    await stage.until(stage.register({ incarnation: 'b' }));
    return { stage, question: { incarnation: 'a' } };
  },
  'never seen': async () => ({ stage: await pay(), question: { service: 'cart', id: 'nothing-like-it' } }),
  'of another namespace': async () => {
    const stage = await Stage.ready();
    await stage.until(stage.register({ namespace: 'other' }));
    return { stage };
  },
  'in another case': async () => ({ stage: await pay('p1'), question: { service: 'Pay', id: 'P1' } }),
  misspelled: async () => ({ stage: await pay('p1'), question: { service: 'pya' } }),
  'of weight 0': async () => {
    const stage = await Stage.ready();
    await stage.until(stage.register({ weight: 0 }));
    return { stage };
  },
  'in an answer that is too large': async () => ({ stage: await pay(), question: { tooLarge: () => true } }),
  'outside of the subset': async () => {
    const stage = await pay();
    const subset = { size: 1, key: 'a client' };
    const { instances } = stage.replica.discovery.discover('default', 'pay', matcher(undefined), subset);
    const id = ['p1', 'p2', 'p3'].find((one) => one !== instances[0]!.id)!;
    return { stage, question: { subset, id } };
  },
  'late, while the store is out': async () => {
    const stage = await pay();
    stage.store.setOutage('refuse');
    await stage.pass(TTL_MS + SOON_MS);
    return { stage, question: { wasHeard: false } };
  },
  'late, just after a start': async () => {
    const stage = await pay();
    await stage.start();
    await stage.pass(TTL_MS + SOON_MS);
    return { stage, question: { wasHeard: false } };
  },
  'late, while a member does not answer': async () => {
    const stage = await pay();
    stage.peers = [
      {
        node: 'n2',
        canProbe: true,
        probe: () => Promise.resolve([]),
        lastHeard: () => Promise.reject(new Error('no answer')),
      },
    ];
    await stage.pass(TTL_MS + SOON_MS);
    return { stage, question: { wasHeard: false } };
  },
};
