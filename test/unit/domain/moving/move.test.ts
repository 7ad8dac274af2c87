import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { systemClock } from '../../../../src/base/clock.js';
import { systemRandom } from '../../../../src/base/random.js';
import { schemaRecord } from '../../../../src/catalog/sync/schema.js';
import { move, planMove, undoMove } from '../../../../src/domain/moving/move.js';
import { MOVED } from '../../../../src/domain/moving/records.js';
import {
  ConfigRecord,
  EpochRecord,
  InstanceRecord,
  ProtectionRecord,
  ServiceChecksRecord,
} from '../../../../src/gen/rollcall/storage/v1/records.js';
import { allEntries, prefixRange, type Revision } from '../../../../src/store/store.js';
import { Dice } from '../../../support/dice.js';
import { MemoryStore } from '../../../support/memory-store.js';

const PROTO = readFileSync(new URL('../../../../proto/rollcall/storage/v1/records.proto', import.meta.url), 'utf8');

test('every revision in a record that is moved is known to the move', () => {
  const blocks = [...PROTO.matchAll(/((?:^\/\/.*\n)+)message (\w+) \{\n([\s\S]*?)^\}/gm)];
  for (const { name, prefix, revisions } of MOVED) {
    const [block] = blocks.filter(([, comment]) => comment!.includes(`\`${prefix}`));
    assert.ok(block, name);
    const fields = [...block[3]!.matchAll(/^ {2}(?:repeated )?int64 (\w*revisions?) = /gm)].map(([, field]) =>
      field!.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
    );
    assert.deepEqual([...revisions].sort(), fields.sort(), `${name}: ${block[2]}`);
  }
  const ours = /^(EpochRecord|HorizonRecord|BarrierRecord|MemberRecord|MembergenRecord|NodeRecord|DepartureRecord)$/;
  const left = /^(SchemaRecord|PeerSecretRecord|RequestRecord|MoveRecord)$/;
  for (const [, comment, message] of blocks)
    if (comment!.includes('Key: `') && !ours.test(message!) && !left.test(message!))
      assert.ok(
        MOVED.some(({ prefix }) => comment!.includes(`\`${prefix}`)),
        `${message} is neither moved nor left behind`,
      );
});

const below = (dice: Dice, max: number): number => Math.floor(dice.between(0, max));

/** A store with random records that name one another's revisions. */
async function randomStore(dice: Dice): Promise<MemoryStore> {
  const store = new MemoryStore(systemClock);
  let n = 0;
  const put = async (...writes: (readonly [key: string, value: Uint8Array])[]): Promise<Revision> => {
    const result = await store.commit({
      writeId: `w${++n}`,
      compares: [],
      writes: writes.map(([key, value]) => ({ kind: 'put', key, value })),
    });
    return result.revision;
  };
  await put(['schema', schemaRecord('s')]);
  await put(['w/epoch', EpochRecord.encode({ writeId: 'e', epoch: `old ${dice.fraction()}`, ended: [] }).finish()]);
  const seen: Revision[] = [];
  const older = (): Revision => (seen.length > 0 && dice.chance(0.5) ? dice.pick(seen) : 0n);
  for (let i = 0; i < 150; i++) {
    const name = `ns/s${below(dice, 3)}/i${below(dice, 20)}`;
    const revision = await dice.pick([
      () =>
        put([
          `w/i/${name}`,
          InstanceRecord.encode(
            InstanceRecord.fromPartial({
              ...{ writeId: `w${n}`, visibleRevision: older(), incarnationRevision: older() },
              ...{ checksRevision: older(), checkRevisions: [older(), older()] },
            }),
          ).finish(),
        ]),
      () =>
        put([
          `w/s/ns/s${below(dice, 3)}`,
          ServiceChecksRecord.encode(
            ServiceChecksRecord.fromPartial({ beginRevision: older(), checkRevisions: [older()] }),
          ).finish(),
        ]),
      () =>
        put([
          `w/p/ns/s${below(dice, 3)}`,
          ProtectionRecord.encode(ProtectionRecord.fromPartial({ fromRevision: older() })).finish(),
        ]),
      () => {
        const record = ConfigRecord.encode(
          ConfigRecord.fromPartial({ writeId: `w${n}`, config: { key: 'k' } }),
        ).finish();
        return put([`w/c/ns/g/k${below(dice, 9)}`, record], [`u/v/ns/g/k/${i}`, record]);
      },
      () => put(['u/r/ns/request', Buffer.from('left behind')]),
    ])();
    seen.push(revision);
  }
  return store;
}

/** Every revision that a store has, of writes and in records, by a name that is the same in both stores. */
async function revisionsOf(store: MemoryStore): Promise<Map<string, Revision>> {
  const revisions = new Map<string, Revision>();
  for (const { prefix, codec, revisions: fields } of MOVED)
    for (const { key, value, modRevision } of await allEntries(await store.list(prefixRange(prefix)))) {
      revisions.set(key, modRevision);
      const record = codec.decode(value) as Record<string, bigint | bigint[]>;
      // 0 in these fields means the write itself.
      for (const field of fields)
        for (const [i, revision] of [record[field]!].flat().entries())
          revisions.set(`${key} ${field} ${i}`, revision || modRevision);
    }
  return revisions;
}

test('the order of all revisions is the same after a move, however often it was cut off', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const dice = new Dice(seed);
    const source = await randomStore(dice);
    const target = new MemoryStore(systemClock);
    for (let i = 0; dice.chance(0.5) && i < 5; i++)
      await target.commit({
        writeId: `x${i}`,
        compares: [],
        writes: [{ kind: 'put', key: 'elsewhere', value: Buffer.from('x') }],
      });
    let epoch: string | undefined;
    for (let attempt = 0; epoch === undefined; attempt++) {
      const cut = attempt < 4 ? below(dice, 60) : Infinity;
      let steps = 0;
      const onStep = (): void => {
        if (++steps > cut) throw new Error('cut off');
      };
      epoch = await move(await planMove(source), { source, target, random: systemRandom, onStep }).catch(
        (error: Error) => {
          assert.equal(error.message, 'cut off');
          return undefined;
        },
      );
    }
    const [before, after] = [await revisionsOf(source), await revisionsOf(target)];
    assert.deepEqual([...after.keys()], [...before.keys()]);
    const names = [...before.keys()];
    for (const a of names)
      for (const b of names) {
        const [x, y] = [before.get(a)! - before.get(b)!, after.get(a)! - after.get(b)!];
        assert.equal(Math.sign(Number(x)), Math.sign(Number(y)), `seed ${seed}: ${a} and ${b}`);
      }
    const left = await allEntries(await target.list(prefixRange('u/')));
    assert.ok(
      left.every(({ key }) => key.startsWith('u/v/')),
      left.map(({ key }) => key).join(),
    );
    assert.doesNotMatch(epoch, /^old/);
  }
});

test('a move that is given after an undo which was cut off begins anew, and loses nothing', async () => {
  const dice = new Dice(3);
  const [source, target] = [await randomStore(dice), new MemoryStore(systemClock)];
  const plan = await planMove(source);
  let left = plan.steps.length - 5;
  const onStep = (): void => {
    if (--left === 0) throw new Error('cut off');
  };
  await assert.rejects(move(plan, { source, target, random: systemRandom, onStep }), { message: 'cut off' });
  let commits = 0;
  const cut = Object.create(target) as MemoryStore;
  cut.list = (...args) => target.list(...args);
  cut.get = (key) => target.get(key);
  cut.commit = (txn) => (++commits > 2 ? Promise.reject(new Error('cut off')) : target.commit(txn));
  await assert.rejects(undoMove(cut, systemRandom), { message: 'cut off' });
  await move(plan, { source, target, random: systemRandom, onStep: () => undefined });
  assert.deepEqual([...(await revisionsOf(target)).keys()], [...(await revisionsOf(source)).keys()]);
});

test('a move that does not fit is refused, and one that is undone leaves nothing', async () => {
  const dice = new Dice(1);
  const [source, other, target] = [await randomStore(dice), await randomStore(dice), new MemoryStore(systemClock)];
  const parts = { random: systemRandom, onStep: () => undefined };
  const plan = await planMove(source);
  await assert.rejects(planMove(target), { name: 'CannotMove', message: /holds no store/ });
  await assert.rejects(undoMove(source, systemRandom), { name: 'CannotMove', message: /nothing was changed/ });
  await assert.rejects(move(plan, { source, target: other, ...parts }), { name: 'CannotMove', message: /not empty/ });
  const cut = { source, target, random: systemRandom, onStep: () => assert.fail('cut off') };
  await assert.rejects(move(plan, cut), { message: 'cut off' });
  await assert.rejects(planMove(target), { name: 'UnreadableSchema', message: /not finished/ });
  await assert.rejects(move(await planMove(other), { source: other, target, ...parts }), {
    message: /of another source/,
  });
  await source.commit({
    writeId: 'late',
    compares: [],
    writes: [{ kind: 'put', key: 'w/c/ns/g/new', value: ConfigRecord.encode(ConfigRecord.fromPartial({})).finish() }],
  });
  await assert.rejects(move(plan, { source, target, ...parts }), {
    message: /the source was changed while it was moved/,
  });
  assert.ok((await undoMove(target, systemRandom)) > 0);
  for (const root of ['w/', 'u/']) assert.deepEqual(await allEntries(await target.list(prefixRange(root))), []);
  await move(await planMove(source), { source, target, ...parts });
});
