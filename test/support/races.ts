import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { validateRegister } from '../../src/api/registry/validation.js';
import { validateHeartbeats } from '../../src/api/registry/heartbeats.js';
import { HeartbeatItem, RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import { RegisterRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import type { RollcallError } from '../../src/model/errors.js';
import type { RevisionBatch } from '../../src/store/store.js';
import { decode } from '../sim/records.js';
import { addressFor } from './addresses.js';
import { Dice } from './dice.js';
import { ClusterStage, type Member } from './cluster-stage.js';

/** Interleavings of each race. */
export const RACES = process.env['ROLLCALL_TEST_LONG'] ? 20_000 : 1_500;
/** How many of them are run side by side, each on an instance of its own. */
const WAVE = 500;
const SERVICES = ['pay', 'cart', 'mail', 'user', 'stock', 'bill', 'ship', 'chat'];
const TTL_MS = 2_000;
const GRACE_MS = 30_000;
/** From the first question of a judge to the end of its commit, at the latencies of this file. */
const ROUND_MS = 14;

/** A write of an instance record. */
interface Written {
  readonly at: number;
  readonly silent: boolean;
  readonly removed: boolean;
  readonly incarnation: string;
}

/** A call of a client, and what came back: "OK", a rejection, or the reason of the error. */
interface Call {
  readonly at: number;
  answeredAt: number;
  outcome: string;
}

/** How often each outcome was seen. */
export type Tally = ReadonlyMap<string, number>;

/** One instance of its own for one race. */
class Ring {
  readonly written: Written[] = [];
  readonly calls = new Map<string, Call[]>();

  constructor(
    private readonly arena: Arena,
    readonly service: string,
    readonly id: string,
  ) {}

  register(incarnation: string): Promise<Call> {
    const request = RegisterRequest.fromPartial({
      instance: { service: this.service, id: this.id, port: 80, ttl: { seconds: 2n, nanos: 0 } },
      incarnation,
    });
    const { registration } = validateRegister(request, addressFor(this.id));
    return this.#call(`register ${incarnation}`, ({ replica }) =>
      replica.registrations.register(registration).then(() => 'OK'),
    );
  }

  deregister(incarnation: string): Promise<Call> {
    const ref = { namespace: 'default', service: this.service, id: this.id, incarnation };
    return this.#call(`deregister ${incarnation}`, ({ replica }) =>
      replica.registrations.deregister(ref).then(() => 'OK'),
    );
  }

  beat(incarnation: string, at?: Member): Promise<Call> {
    const { items } = validateHeartbeats([
      HeartbeatItem.fromPartial({ service: this.service, id: this.id, incarnation }),
    ]);
    return this.#call(
      `beat ${incarnation}`,
      async ({ replica }) => {
        const { rejected } = await replica.heartbeats.receive(items);
        return rejected[0] ? RejectionReason[rejected[0].reason] : 'OK';
      },
      at,
    );
  }

  of(name: string): Call[] {
    return this.calls.get(name) ?? [];
  }

  /** What stood last at a moment. */
  at(time: number): Written | undefined {
    return this.written.findLast(({ at }) => at <= time);
  }

  /** Makes a call at a replica of chance, now. */
  async #call(name: string, serve: (member: Member) => Promise<string>, member = this.arena.anybody()): Promise<Call> {
    const { world } = this.arena.stage;
    const call: Call = { at: world.now, answeredAt: Infinity, outcome: '' };
    this.calls.set(name, [...this.of(name), call]);
    call.outcome = await serve(member).catch((error: unknown) => (error as RollcallError).reason);
    call.answeredAt = world.now;
    return call;
  }
}

/** Two replicas behind a store and a network of chance, and instances to be fought over. */
class Arena {
  readonly stage = new ClusterStage();
  readonly tally = new Map<string, number>();
  readonly #rings = new Map<string, Ring>();
  #waves = 0;

  private constructor(readonly dice: Dice) {
    this.stage.store.latencyMs = () => dice.between(0.2, 4);
    this.stage.peerLatencyMs = () => dice.between(0.1, 3);
    this.stage.watchDelayMs = () => (dice.chance(0.5) ? 0 : dice.between(0, 5));
    this.stage.store.onCommit = (batch) => this.#committed(batch);
  }

  static async open(seed: number): Promise<Arena> {
    const arena = new Arena(new Dice(seed));
    await arena.stage.start('a');
    await arena.stage.start('b');
    await arena.stage.pass(GRACE_MS + 1_000);
    return arena;
  }

  anybody(): Member {
    return this.dice.pick(this.stage.members);
  }

  count(name: string, n = 1): void {
    this.tally.set(name, (this.tally.get(name) ?? 0) + n);
  }

  /** Something happens within some milliseconds. */
  within(ms: number, happen: () => unknown): void {
    this.stage.world.in(this.dice.between(0, ms), () => void happen());
  }

  /** Registers a wave of instances, spread over a second, so that few deadlines meet in one round. */
  async wave(incarnation: string): Promise<Ring[]> {
    const wave = this.#waves++;
    const rings = Array.from({ length: WAVE }, (_, i) => new Ring(this, this.dice.pick(SERVICES), `w${wave}-${i}`));
    for (const ring of rings) {
      this.#rings.set(`w/i/default/${ring.service}/${ring.id}`, ring);
      this.within(1_000, () => ring.register(incarnation));
    }
    return rings;
  }

  /** Calls for each ring once, when a judge asks about it for the first time. */
  whenAsked(rings: readonly Ring[], begin: (ring: Ring) => void): void {
    const open = new Map(rings.map((ring) => [`w/i/default/${ring.service}/${ring.id}`, ring]));
    this.stage.onAsked = (queries) => {
      for (const { key } of queries) {
        const ring = open.get(key);
        if (!open.delete(key)) continue;
        begin(ring!);
      }
    };
  }

  /** Removes what is left of a wave. */
  async clear(rings: readonly Ring[], incarnation: string): Promise<void> {
    this.stage.onAsked = () => undefined;
    for (const ring of rings) this.within(100, () => ring.deregister(incarnation));
    await this.stage.pass(500);
    for (const { service, id } of rings) this.#rings.delete(`w/i/default/${service}/${id}`);
  }

  #committed({ changes }: RevisionBatch): void {
    for (const change of changes) {
      const ring = change.kind === 'put' && this.#rings.get(change.entry.key);
      if (!ring) continue;
      const record = decode('rollcall.storage.v1.InstanceRecord', change.entry.value) as unknown as {
        silent: boolean;
        tombstone?: object;
        instance: { incarnation: string };
      };
      ring.written.push({
        at: this.stage.world.now,
        silent: record.silent,
        removed: record.tombstone !== undefined,
        incarnation: record.instance.incarnation,
      });
    }
  }
}

/** How far a record is when a race begins. */
const STATES = ['alive', 'judged', 'silent'] as const;

/** Begins each race: a third at once, a third when the judge asks, a third when the record is SILENT. */
async function begin(arena: Arena, rings: readonly Ring[], race: (ring: Ring) => void): Promise<void> {
  const state = (ring: Ring): (typeof STATES)[number] => STATES[rings.indexOf(ring) % STATES.length]!;
  const judged = rings.filter((ring) => state(ring) === 'judged');
  arena.whenAsked(judged, race);
  await arena.stage.pass(1_100);
  for (const ring of rings) if (state(ring) === 'alive') arena.within(100, () => race(ring));
  await arena.stage.pass(2 * TTL_MS);
  for (const ring of rings) {
    if (state(ring) !== 'silent') continue;
    assert.equal(ring.written.at(-1)!.silent, true);
    arena.within(100, () => race(ring));
  }
  await arena.stage.pass(1_000);
}

export async function beatAgainstVerdict(): Promise<Tally> {
  const arena = await Arena.open(1);
  for (let i = 0; i < RACES; i += WAVE) {
    const rings = await arena.wave('run');
    const raced = new Set<Ring>();
    arena.whenAsked(rings, (ring) => {
      raced.add(ring);
      arena.within(ROUND_MS, () => ring.beat('run'));
    });
    await arena.stage.pass(1_000 + TTL_MS + 500);
    assert.equal(raced.size, rings.length);
    for (const ring of rings) {
      const [{ at, answeredAt, outcome } = assert.fail('no beat')] = ring.of('beat run');
      const verdicts = ring.written.filter(({ silent }) => silent);
      const name = `${ring.id}: received at ${at}, ${outcome} at ${answeredAt}, written ${JSON.stringify(ring.written)}`;
      const isHealed = verdicts.length > 0 && !ring.written.at(-1)!.silent;
      arena.count('verdicts', verdicts.length);
      arena.count(
        `${outcome}, ${verdicts.length === 0 ? (ring.written.length > 1 ? 'touched' : 'from memory') : isHealed ? 'healed' : 'silent'}`,
      );
      assert.ok(verdicts.length <= 1, name);
      if (outcome !== 'OK') {
        assert.equal(outcome, 'REJECTION_REASON_RETRY', name);
        continue;
      }
      assert.equal(ring.at(answeredAt)!.silent, false, name);
      assert.ok(
        verdicts.every((verdict) => verdict.at <= answeredAt || verdict.at >= at + TTL_MS),
        name,
      );
    }
    await arena.clear(rings, 'run');
  }
  const counted = (name: string): number =>
    arena.stage.members.reduce((sum, { counts }) => sum + (counts.get(name) ?? 0), 0);
  assert.equal(counted('verdicts'), arena.tally.get('verdicts'), 'a judge knows which of its verdicts stand');
  for (const won of ['OK, from memory', 'OK, touched', 'OK, healed'])
    assert.ok((arena.tally.get(won) ?? 0) > RACES / 20, `${won}: ${arena.tally.get(won)}`);
  assert.ok(counted('verdicts_refused') > RACES / 50, `${counted('verdicts_refused')} verdicts were refused`);
  return arena.tally;
}

export async function beatsAgainstDeregister(): Promise<Tally> {
  const arena = await Arena.open(2);
  for (let i = 0; i < RACES; i += WAVE) {
    const rings = await arena.wave('run');
    await begin(arena, rings, (ring) => {
      arena.within(8, () => ring.deregister('run'));
      for (let n = 0; n < 3; n++) arena.within(ROUND_MS, () => ring.beat('run'));
    });
    for (const ring of rings) {
      const name = `${ring.id}: ${JSON.stringify([...ring.calls])}, written ${JSON.stringify(ring.written)}`;
      const [removal] = ring.of('deregister run');
      assert.equal(removal!.outcome, 'OK', name);
      assert.equal(ring.written.filter(({ removed }) => removed).length, 1, name);
      assert.ok(ring.written.at(-1)!.removed, name);
      for (const { outcome } of ring.of('beat run')) {
        arena.count(outcome);
        assert.notEqual(outcome, 'REJECTION_REASON_SUPERSEDED', name);
      }
    }
    const later = Promise.all(rings.flatMap((ring) => arena.stage.members.map((member) => ring.beat('run', member))));
    for (const { outcome } of await arena.stage.until(later)) assert.equal(outcome, 'REJECTION_REASON_DEREGISTERED');
    for (const ring of rings) assert.ok(ring.written.at(-1)!.removed);
  }
  for (const outcome of ['OK', 'REJECTION_REASON_DEREGISTERED'])
    assert.ok((arena.tally.get(outcome) ?? 0) > RACES / 10, `${outcome}: ${arena.tally.get(outcome)}`);
  return arena.tally;
}

export async function registerAgainstDeregisterAndBeats(): Promise<Tally> {
  const arena = await Arena.open(3);
  for (let i = 0; i < RACES; i += WAVE) {
    const rings = await arena.wave('old');
    await begin(arena, rings, (ring) => {
      arena.within(8, async () => {
        await ring.register('new');
        for (const member of arena.stage.members) void ring.beat('new', member);
      });
      arena.within(8, () => ring.deregister('old'));
      for (let n = 0; n < 3; n++) arena.within(ROUND_MS, () => ring.beat('old'));
    });
    for (const ring of rings) {
      const name = `${ring.id}: ${JSON.stringify([...ring.calls])}, written ${JSON.stringify(ring.written)}`;
      const taken = ring.written.findIndex(({ incarnation }) => incarnation === 'new');
      const removals = ring.written.filter(({ removed }) => removed);
      const [{ outcome: removal } = assert.fail(name)] = ring.of('deregister old');
      assert.equal(ring.of('register new')[0]!.outcome, 'OK', name);
      assert.ok(taken > 0, name);
      assert.ok(
        ring.written.slice(taken).every(({ incarnation, removed }) => incarnation === 'new' && !removed),
        name,
      );
      arena.count(`deregister ${removal}`);
      assert.ok(removal === 'OK' || removal === 'INCARNATION_MISMATCH', name);
      assert.equal(removals.length, removal === 'OK' ? 1 : 0, name);
      for (const { outcome } of ring.of('beat new')) {
        arena.count(`new ${outcome}`);
        assert.ok(outcome === 'OK' || outcome === 'REJECTION_REASON_RETRY', name);
      }
      for (const { outcome } of ring.of('beat old')) {
        arena.count(`old ${outcome}`);
        if (outcome === 'REJECTION_REASON_NOT_REGISTERED') assert.equal(removals.length, 1, name);
      }
    }
    const later = Promise.all(rings.flatMap((ring) => arena.stage.members.map((member) => ring.beat('old', member))));
    for (const { outcome } of await arena.stage.until(later)) assert.equal(outcome, 'REJECTION_REASON_SUPERSEDED');
    await arena.clear(rings, 'new');
  }
  for (const outcome of [
    'deregister OK',
    'deregister INCARNATION_MISMATCH',
    'new OK',
    'old OK',
    'old REJECTION_REASON_SUPERSEDED',
  ])
    assert.ok((arena.tally.get(outcome) ?? 0) > RACES / 20, `${outcome}: ${arena.tally.get(outcome)}`);
  return arena.tally;
}

const RUNS = { beatAgainstVerdict, beatsAgainstDeregister, registerAgainstDeregisterAndBeats };
/** The name of a race. */
export type Race = keyof typeof RUNS;

// In a process of its own: runs the race that is named, and prints what was seen.
const named = process.argv[2];
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const tally = await RUNS[named as Race]();
  process.stdout.write(JSON.stringify(Object.fromEntries(tally)));
}
