import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalog } from '../../../src/catalog/catalog.js';
import { DELIVERY_ORDER, type SubscriberName } from '../../../src/catalog/changes.js';
import { SimProcess, tallyingTelemetry } from '../../sim/process.js';
import { World } from '../../sim/world.js';
import { Stage } from '../../support/stage.js';

const newCatalog = (): Catalog =>
  new Catalog({ clock: new SimProcess(new World()).clock, telemetry: tallyingTelemetry(new Map()) });

test('subscribers receive a change in the written order, whatever the order of subscription: the hub last', () => {
  assert.deepEqual(DELIVERY_ORDER.slice(0, 2), ['addresses', 'judge']);
  assert.equal(DELIVERY_ORDER.at(-1), 'hub');
  const catalog = newCatalog();
  const called: SubscriberName[] = [];
  const { signal } = new AbortController();
  for (const name of [...DELIVERY_ORDER].reverse()) catalog.subscribe(name, () => called.push(name), signal);
  catalog.replace(1n, []);
  assert.deepEqual(called, [...DELIVERY_ORDER]);
});

test('a change is delivered once the catalog holds all of it, and a late subscriber gets no earlier one', () => {
  const catalog = newCatalog();
  const seen: string[] = [];
  const stop = new AbortController();
  const note = ({ cause, revision }: { cause: string; revision: bigint }): void =>
    void seen.push(`${cause} ${revision} at ${catalog.revision}, ready ${catalog.ready}`);
  catalog.replace(1n, []);
  catalog.subscribe('other', note, stop.signal);
  catalog.apply({ revision: 2n, changes: [] });
  catalog.replace(5n, []);
  catalog.reset(true);
  catalog.replace(7n, []);
  stop.abort();
  catalog.apply({ revision: 8n, changes: [] });
  assert.deepEqual(seen, [
    'WATCHED 2 at 2, ready true',
    'LISTING 5 at 5, ready true',
    'RESET 0 at 0, ready false',
    'FIRST_LISTING 7 at 7, ready true',
  ]);
});

test('a heartbeat that arrives in the turn of a change finds the deadlines of that change', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ id: 'p1', incarnation: 'a' }));
  const known: (boolean | undefined)[] = [];
  const check = (): void => void known.push(stage.replica.table.entry('w/i/default/pay/p2') !== undefined);
  stage.replica.catalog.subscribe('other', check, new AbortController().signal);
  await stage.until(stage.register({ id: 'p2', incarnation: 'b' }));
  assert.deepEqual(known, [true], 'the judge has taken the record in before any other subscriber is called');
});
