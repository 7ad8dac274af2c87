import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InstanceOrder } from '../../../../src/catalog/instance-order.js';
import { matcher } from '../../../../src/domain/registry/filter.js';
import { type Found, Lookup, type Search } from '../../../../src/domain/registry/lookup.js';
import { Health, InstanceCriteria, InstanceFilter } from '../../../../src/gen/rollcall/v1/instance.js';
import { LIMITS } from '../../../../src/model/limits.js';
import { Dice } from '../../../support/dice.js';
import { addressFor } from '../../../support/addresses.js';
import { Stage } from '../../../support/stage.js';

const search = (given: Partial<Search> = {}): Search => ({
  ...{ namespace: undefined, service: undefined, address: '', filter: matcher(undefined), healthStates: new Set() },
  ...{ size: 100, after: undefined },
  ...given,
});

/** The names of every page of a search, one page after the other. */
function pagesOf(lookup: Lookup, given: Partial<Search>, between: () => void = () => undefined): string[][] {
  const pages: string[][] = [];
  let after: Found['next'];
  do {
    const { instances, next } = lookup.find(search({ ...given, after }), () => true);
    pages.push(instances.map(({ service, id }) => `${service}/${id}`));
    after = next;
    between();
  } while (after);
  return pages;
}

async function stageWith(names: readonly string[]): Promise<Stage> {
  const stage = await Stage.ready();
  for (const name of names) {
    const [service, id] = name.split('/') as [string, string];
    await stage.until(stage.register({ service, id }));
  }
  return stage;
}

test('instances are listed by service and id, and a page says where the next one begins', async () => {
  const names = ['b/1', 'a-b/2', 'a/9', 'a/10', 'a.b/3'];
  const { replica } = await stageWith(names);
  assert.deepEqual(pagesOf(replica.lookup, { size: 2 }), [['a/10', 'a/9'], ['a-b/2', 'a.b/3'], ['b/1']]);
  assert.deepEqual(pagesOf(replica.lookup, { namespace: 'default', service: 'a' }), [['a/10', 'a/9']]);
  assert.deepEqual(pagesOf(replica.lookup, { namespace: 'other' }), [[]]);
});

test('an instance that is there during the whole listing is on one page, however others come and go', async () => {
  const names = Array.from({ length: 60 }, (_, i) => `s${i % 7}/i${i}`);
  const stage = await stageWith(names);
  const dice = new Dice(5);
  const stays = names.filter((_, i) => i % 2 === 0);
  for (let round = 0; round < 20; round++) {
    const seen: string[] = [];
    let after: Found['next'];
    do {
      const { instances, next } = stage.replica.lookup.find(
        search({ size: 1 + Math.floor(dice.fraction() * 9), after }),
        () => true,
      );
      seen.push(...instances.map(({ service, id }) => `${service}/${id}`));
      after = next;
      const [service, id] = dice.pick(names.filter((_, i) => i % 2 === 1)).split('/') as [string, string];
      if (dice.chance(0.5)) await stage.until(stage.deregister({ service, id }).catch(() => 0n));
      else await stage.until(stage.register({ service, id, incarnation: `run${dice.fraction()}` }));
    } while (after);
    for (const name of stays) assert.equal(seen.filter((one) => one === name).length, 1, name);
    assert.equal(new Set(seen).size, seen.length, 'no other is listed twice either');
  }
});

test('a page looks at a bounded number of instances, and may be empty', async () => {
  const order = new InstanceOrder();
  const stage = await stageWith(['a/1']);
  const [item] = [...stage.replica.catalog.instances.live()];
  const many = LIMITS.LISTED_INSTANCES.value * 2 + 1;
  let listener: ((change: never) => void) | undefined;
  order.start(
    { subscribe: (_: string, take: typeof listener) => void (listener = take) } as never,
    new AbortController().signal,
  );
  const changes = Array.from({ length: many }, (_, i) => ({
    before: undefined,
    after: { ...item!, name: `i${String(i).padStart(6, '0')}` },
  }));
  listener!({ of: () => changes, moved: () => [] } as never);
  const lookup = new Lookup(order);
  const pages = pagesOf(lookup, { address: '10.99.99.99' });
  assert.deepEqual(pages, [[], [], []]);
  assert.equal(pagesOf(lookup, { size: 1_000 }).flat().length, many);
});

test('instances are found by address, health, tag and exclusion, and only where the caller sees', async () => {
  const stage = await stageWith(['a/1', 'a/2', 'b/3']);
  const { lookup } = stage.replica;
  assert.deepEqual(pagesOf(lookup, { address: addressFor('2') }), [['a/2']]);
  await stage.untilTrue(() => stage.instance('1', 'a')?.health === Health.HEALTH_UNHEALTHY, 10_000);
  assert.deepEqual(pagesOf(lookup, { healthStates: new Set([Health.HEALTH_HEALTHY]) }), [[]]);
  const version = (of: string): InstanceCriteria => InstanceCriteria.fromPartial({ version: of });
  await stage.until(stage.register({ service: 'c', id: '4', version: '1' }));
  await stage.until(stage.register({ service: 'c', id: '5', version: '2' }));
  const filtered = (filter: Partial<InstanceFilter>): string[][] =>
    pagesOf(lookup, { filter: matcher(InstanceFilter.fromPartial(filter)) });
  assert.deepEqual(filtered({ anyOf: [version('1'), version('2')] }), [['c/4', 'c/5']]);
  assert.deepEqual(filtered({ anyOf: [version('1'), version('2')], noneOf: [version('2')] }), [['c/4']]);
  assert.deepEqual(filtered({ version: '1', noneOf: [version('1')] }), [[]]);
  const { instances } = lookup.find(search(), (_, service) => service === 'c');
  assert.deepEqual(
    instances.map(({ id }) => id),
    ['4', '5'],
  );
});

test('the order of alternatives and exclusions does not change the key of a filter', () => {
  const keyOf = (filter: Partial<InstanceFilter>): string => matcher(InstanceFilter.fromPartial(filter)).key;
  const [one, two] = [InstanceCriteria.fromPartial({ tags: ['a'] }), InstanceCriteria.fromPartial({ tags: ['b'] })];
  assert.equal(keyOf({ anyOf: [one, two] }), keyOf({ anyOf: [two, one, two] }));
  assert.notEqual(keyOf({ anyOf: [one, two] }), keyOf({ noneOf: [one, two] }));
  assert.notEqual(keyOf({ anyOf: [one] }), keyOf({ tags: ['a'] }));
});
