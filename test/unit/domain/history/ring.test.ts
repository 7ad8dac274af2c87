import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Entry, Ring } from '../../../../src/domain/history/ring.js';
import { Dice } from '../../../support/dice.js';

const entry = (revision: number, service: string, id: string): Entry => ({
  ...{ revision, timeMs: revision, kind: 1, key: `w/i/default/${service}/${id}`, namespace: 'default', service, id },
  ...{ incarnation: '', from: 0, to: 1, reason: 0, actor: undefined, comment: '', cause: undefined, node: '' },
});

const revisions = (entries: Iterable<Entry>): number[] => [...entries].map(({ revision }) => revision);

test('an instance that flaps pushes out its own oldest transitions alone, and the ring says so', () => {
  const ring = new Ring({ all: 100, ofInstance: 3, ofService: 50 });
  ring.add(entry(1, 'pay', 'calm'));
  for (let i = 2; i <= 9; i++) ring.add(entry(i, 'pay', 'flaps'));
  assert.deepEqual(revisions(ring.ofInstance('default', 'pay', 'flaps')), [9, 8, 7]);
  assert.equal(ring.droppedOf('default', 'pay', 'flaps'), 6);
  assert.deepEqual(revisions(ring.ofInstance('default', 'pay', 'calm')), [1]);
  assert.equal(ring.droppedOf('default', 'pay', 'calm'), 0);
  assert.equal(ring.droppedUpTo, 0);
});

test('a service has its share, and all of them have theirs', () => {
  const ring = new Ring({ all: 10, ofInstance: 5, ofService: 4 });
  for (let i = 1; i <= 6; i++) ring.add(entry(i, 'big', `i${i}`));
  assert.deepEqual(revisions(ring.ofService('default', 'big')), [6, 5, 4, 3]);
  for (let i = 7; i <= 20; i++) ring.add(entry(i, `s${i}`, 'one'));
  assert.equal(ring.size, 10);
  assert.deepEqual(revisions(ring.newest()), [20, 19, 18, 17, 16, 15, 14, 13, 12, 11]);
  assert.equal(ring.droppedUpTo, 10);
  assert.deepEqual(revisions(ring.ofService('default', 'big')), []);
});

test('what is older is added in front, up to the bounds, and the ring says what it left out', () => {
  const ring = new Ring({ all: 9, ofInstance: 3, ofService: 5 });
  ring.add(entry(20, 'pay', 'a'));
  ring.add(entry(21, 'pay', 'b'));
  for (let i = 19; i >= 17; i--) ring.addOlder(entry(i, 'pay', 'a'));
  assert.deepEqual(revisions(ring.ofInstance('default', 'pay', 'a')), [20, 19, 18]);
  assert.deepEqual([ring.droppedOf('default', 'pay', 'a'), ring.droppedOf('default', 'pay', 'b')], [17, 0]);
  ring.addOlder(entry(16, 'pay', 'b'));
  ring.addOlder(entry(15, 'pay', 'c'));
  assert.deepEqual(revisions(ring.ofService('default', 'pay')), [21, 20, 19, 18, 16]);
  assert.equal(ring.droppedOf('default', 'pay', 'c'), 15, 'of a service that is full');
  assert.equal(ring.droppedUpTo, 0);
  for (let i = 14; i >= 10; i--) ring.addOlder(entry(i, `s${i}`, 'one'));
  assert.deepEqual(revisions(ring.newest()), [21, 20, 19, 18, 16, 14, 13, 12, 11]);
  assert.equal(ring.droppedUpTo, 10);
  ring.add(entry(22, 'ship', 'd'));
  assert.deepEqual([ring.droppedUpTo, ring.newestNumber], [11, 3]);
  assert.deepEqual(
    [...ring.after(1)].map(({ number }) => number),
    [2, 3],
  );
});

test('the ring says up to which number a reader may have missed something', () => {
  const ring = new Ring({ all: 100, ofInstance: 3, ofService: 50 });
  const numberOf = (service: string, id: string): number => ring.droppedNumber({ namespace: 'default', service, id });
  ring.add(entry(1, 'pay', 'calm'));
  for (let i = 2; i <= 9; i++) ring.add(entry(i, 'pay', 'flaps'));
  ring.add(entry(10, 'ship', 'one'));
  assert.deepEqual([numberOf('', ''), numberOf('pay', ''), numberOf('pay', 'flaps')], [6, 6, 6]);
  assert.deepEqual([numberOf('pay', 'calm'), numberOf('ship', ''), numberOf('ship', 'one')], [0, 0, 0]);
  ring.clear();
  assert.deepEqual([numberOf('', ''), numberOf('ship', 'one')], [10, 10]);
});

test('a ring under a thousand random changes is what a plain list with the same bounds is', () => {
  const dice = new Dice(7);
  const bounds = { all: 60, ofInstance: 4, ofService: 20 };
  const ring = new Ring(bounds);
  let list: Entry[] = [];
  const drop = (fits: (one: Entry) => boolean, most: number): void => {
    const found = list.filter(fits);
    if (found.length > most) list = list.filter((one) => one !== found[0]);
  };
  for (let i = 1; i <= 1_000; i++) {
    const next = entry(i, `s${Math.floor(dice.fraction() * 5)}`, `i${Math.floor(dice.fraction() ** 2 * 9)}`);
    ring.add(next);
    list.push(next);
    drop(({ service }) => service === next.service, bounds.ofService);
    drop(({ service, id }) => service === next.service && id === next.id, bounds.ofInstance);
    drop(() => true, bounds.all);
    assert.deepEqual(revisions(ring.newest()), revisions(list).reverse());
  }
  for (const { service, id } of list)
    assert.deepEqual(
      revisions(ring.ofInstance('default', service, id)),
      revisions(list.filter((one) => one.service === service && one.id === id)).reverse(),
    );
  ring.clear();
  assert.deepEqual([ring.size, revisions(ring.ofService('default', 's1'))], [0, []]);
});
