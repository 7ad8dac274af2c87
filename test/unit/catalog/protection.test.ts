import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalog } from '../../../src/catalog/catalog.js';
import type { CatalogChange } from '../../../src/catalog/changes.js';
import { CheckRecord, InstanceRecord, ProtectionRecord } from '../../../src/gen/rollcall/storage/v1/records.js';
import { CheckVerdict, HealthCheck } from '../../../src/gen/rollcall/v1/check.js';
import { checkKey, writeCheck } from '../../../src/model/check.js';
import { Health, InstanceFilter, ReportedState } from '../../../src/gen/rollcall/v1/instance.js';
import { INSTANCE, recordedProtection } from '../../../src/catalog/kinds.js';
import { instanceKey, writeInstance } from '../../../src/model/instance.js';
import { protectionKey, writeProtection } from '../../../src/model/protection.js';
import { matcher } from '../../../src/domain/registry/filter.js';
import { serviceSelection } from '../../../src/domain/registry/watching.js';
import type { Entry } from '../../../src/store/store.js';
import { behind as difference } from '../../support/deltas.js';
import { SimProcess, tallyingTelemetry } from '../../sim/process.js';
import { World } from '../../sim/world.js';
import { Dice } from '../../support/dice.js';

const { REPORTED_STATE_HEALTHY, REPORTED_STATE_UNHEALTHY, REPORTED_STATE_STARTING, REPORTED_STATE_DRAINING } =
  ReportedState;

/** What stands at an instance key, told apart from how the catalog tells it. */
interface Standing {
  readonly service: string;
  readonly id: string;
  readonly reported: ReportedState;
  readonly silent: boolean;
  readonly seasoned: boolean;
  readonly removed: boolean;
  /** The revision of its last visible change. */
  readonly visible: bigint;
  readonly modRevision: bigint;
}

/** A verdict on the checks of an instance. */
interface Judged {
  readonly service: string;
  readonly id: string;
  readonly failed: boolean;
  readonly seasoned: boolean;
  /** The revision of the verdict. */
  readonly visible: bigint;
  readonly modRevision: bigint;
}

interface Protected {
  readonly service: string;
  readonly active: boolean;
  /** Falls from this revision on belong to the event. */
  readonly from: bigint;
  readonly visible: bigint;
  readonly modRevision: bigint;
}

function instanceEntry(standing: Standing): Entry {
  const { service, id, reported, silent, seasoned, removed, visible, modRevision } = standing;
  const record = InstanceRecord.fromPartial({
    writeId: `w${modRevision}`,
    instance: {
      ...{ namespace: 'default', service, id, incarnation: 'a', reported: { state: reported, note: '' } },
      checks: hasChecks(id) ? [HealthCheck.fromPartial({ name: 'tcp', probe: { $case: 'tcp', value: {} } })] : [],
    },
    ...{ silent, seasoned, incarnationRevision: -2n, checksRevision: -1n, checkRevisions: [-1n] }, // before all verdicts
    visibleRevision: visible === modRevision ? 0n : visible,
    ...(removed && { tombstone: { reason: 1, time: { seconds: 1n, nanos: 0 } } }),
  });
  return {
    key: instanceKey('default', service, id),
    value: writeInstance(record),
    modRevision,
    createRevision: modRevision,
  };
}

/** Some instances have a check, which they added while they were shown. */
const hasChecks = (id: string): boolean => ['p0', 'p1', 'p2'].includes(id);

function judgedEntry({ service, id, failed, seasoned, visible, modRevision }: Judged): Entry {
  const record = CheckRecord.fromPartial({
    ...{ writeId: `w${modRevision}`, incarnation: 'a', seasoned },
    verdict: failed ? CheckVerdict.CHECK_VERDICT_FAILED : CheckVerdict.CHECK_VERDICT_PASSING,
    visibleRevision: visible === modRevision ? 0n : visible,
  });
  return {
    key: checkKey('default', service, id),
    value: writeCheck(record),
    modRevision,
    createRevision: modRevision,
  };
}

function protectionEntry({ service, active, from, visible, modRevision }: Protected): Entry {
  const record = ProtectionRecord.fromPartial({
    ...{ writeId: `w${modRevision}`, active, fromRevision: from },
    visibleRevision: visible === modRevision ? 0n : visible,
  });
  return {
    key: protectionKey('default', service),
    value: writeProtection(record),
    modRevision,
    createRevision: modRevision,
  };
}

/** A store to which anything may happen that members write, and several things in one revision. */
class History {
  readonly instances = new Map<string, Standing>();
  readonly protections = new Map<string, Protected>();
  readonly verdicts = new Map<string, Judged>();
  revision = 0n;

  constructor(private readonly dice: Dice) {}

  entries(): Entry[] {
    return [
      ...[...this.instances.values()].map(instanceEntry),
      ...[...this.protections.values()].map(protectionEntry),
      ...[...this.verdicts.values()].map(judgedEntry),
    ].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** One revision: what it put. */
  step(): Entry[] {
    this.revision += this.dice.chance(0.3) ? 2n : 1n; // others write what is not watched
    const put = new Map<string, Entry>();
    for (let changes = this.dice.chance(0.3) ? 3 : 1; changes > 0; changes--) {
      const entry = this.dice.chance(0.2) ? this.#protect() : this.dice.chance(0.2) ? this.#judge() : this.#write();
      if (entry && !put.has(entry.key)) put.set(entry.key, entry);
    }
    return [...put.values()];
  }

  #write(): Entry {
    const { dice, revision } = this;
    const service = dice.pick(['pay', 'cart']);
    const id = `p${Math.floor(dice.between(0, 5))}`;
    const key = `${service}/${id}`;
    const before = this.instances.get(key);
    if (before?.modRevision === revision) return instanceEntry(before);
    const changed = { service, id, seasoned: false, removed: false, visible: revision, modRevision: revision };
    const alive = before && !before.removed ? before : undefined;
    const next: (() => Standing)[] = [
      () => ({
        ...changed,
        reported: dice.pick([
          REPORTED_STATE_HEALTHY,
          REPORTED_STATE_UNHEALTHY,
          REPORTED_STATE_STARTING,
          REPORTED_STATE_DRAINING,
        ]),
        silent: false,
      }),
    ];
    if (alive)
      next.push(
        () => ({ ...alive, modRevision: revision }), // a touch
        () => ({ ...changed, reported: alive.reported, silent: true, seasoned: dice.chance(0.7) }),
        () => ({ ...changed, reported: REPORTED_STATE_HEALTHY, silent: false, removed: true }),
      );
    const standing = dice.pick(next)();
    this.instances.set(key, standing);
    return instanceEntry(standing);
  }

  #judge(): Entry | undefined {
    const { dice, revision } = this;
    const [service, id] = [dice.pick(['pay', 'cart']), dice.pick(['p0', 'p1', 'p2'])];
    const key = `${service}/${id}`;
    const before = this.verdicts.get(key);
    if (before?.modRevision === revision) return undefined;
    const touch = before !== undefined && dice.chance(0.2);
    const after: Judged = touch
      ? { ...before, modRevision: revision }
      : { service, id, failed: !before?.failed, seasoned: dice.chance(0.7), visible: revision, modRevision: revision };
    this.verdicts.set(key, after);
    return judgedEntry(after);
  }

  #protect(): Entry | undefined {
    const { dice, revision } = this;
    const service = dice.pick(['pay', 'cart']);
    const before = this.protections.get(service);
    if (before?.modRevision === revision) return undefined;
    const touch = before !== undefined && dice.chance(0.2);
    const active = !before?.active;
    // An event begins after the last end, and before the record that says so.
    const past = BigInt(Math.floor(dice.between(0, Number(revision - (before?.visible ?? 0n)))));
    const after: Protected = touch
      ? { ...before, modRevision: revision }
      : { service, active, from: active ? revision - past : 0n, visible: revision, modRevision: revision };
    this.protections.set(service, after);
    return protectionEntry(after);
  }

  /** What a default watch of everything shows: the revision of each instance as users see it. */
  shown(): Map<string, bigint> {
    const shown = [...this.instances].flatMap(
      ([key, { service, id, reported, silent, seasoned, removed, visible }]) => {
        if (removed) return [];
        const verdict = hasChecks(id) ? this.verdicts.get(key) : undefined;
        const protection = this.protections.get(service);
        const isSheltered = (fall: { readonly seasoned: boolean; readonly visible: bigint }): boolean =>
          fall.seasoned && protection?.active === true && fall.visible >= protection.from;
        const isUp = !silent && verdict?.failed !== true && reported === REPORTED_STATE_HEALTHY;
        const isShown =
          isUp || (silent && isSheltered({ seasoned, visible })) || (verdict?.failed && isSheltered(verdict));
        const revision = verdict && verdict.visible > visible ? verdict.visible : visible;
        return isShown ? [[key, revision] as const] : [];
      },
    );
    return new Map(shown);
  }
}

const newCatalog = (tally = new Map<string, number>()): Catalog =>
  new Catalog({ clock: new SimProcess(new World()).clock, telemetry: tallyingTelemetry(tally) });
const everything = serviceSelection('default', undefined, matcher(undefined));
const sorted = <T>(entries: Iterable<readonly [string, T]>): (readonly [string, T])[] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : 1));

/** All that a catalog answers by: every item with the revision it lies at, and every service with its own. */
function told(catalog: Catalog): unknown {
  const items = [...catalog.instances.all()].map(
    ({ key, revision, modRevision, shownByProtection, instance }) =>
      [key, { revision, modRevision, shownByProtection, shown: instance.revision }] as const,
  );
  const services = [...(catalog.instances.namespace('default')?.scopes.values() ?? [])].map(
    ({ value: scope }) =>
      [scope.name, { revision: scope.revision, protection: recordedProtection(scope)?.record.active }] as const,
  );
  return { items: sorted(items), services: sorted(services) };
}

/** What lies behind a cursor, whatever the order within a revision. */
function behind(catalog: Catalog, cursor: bigint): unknown {
  const { upserted, removed, scopes } = difference(catalog.instances, everything, cursor, catalog.revision);
  return [upserted.map(({ key }) => key), removed.map(({ key }) => key), scopes.map(({ name }) => name)].map((names) =>
    names.sort(),
  );
}

test('E4 W1: a replica that lists the store answers every cursor as one that watched it, whatever has happened', () => {
  for (let seed = 1; seed <= 150; seed++) {
    const dice = new Dice(seed);
    const history = new History(dice);
    const watching = newCatalog();
    watching.replace(0n, []);
    // One that is cut off now and then, and lists again.
    const relisting = newCatalog();
    relisting.replace(0n, []);
    for (let steps = 0; steps < 60; steps++) {
      const changes = history.step().map((entry) => ({ kind: 'put', entry }) as const);
      watching.apply({ revision: history.revision, changes });
      if (dice.chance(0.1)) relisting.replace(history.revision, history.entries());
      if (steps % 5 > 0) continue;
      const fresh = newCatalog();
      fresh.replace(history.revision, history.entries());
      relisting.replace(history.revision, history.entries());
      for (const other of [fresh, relisting]) {
        assert.deepEqual(told(other), told(watching), `seed ${seed} at ${history.revision}`);
        for (let cursor = 0n; cursor <= history.revision; cursor++)
          assert.deepEqual(behind(other, cursor), behind(watching, cursor), `seed ${seed}, behind ${cursor}`);
      }
    }
  }
});

test('E4 W1: a view that is moved from any revision to any later one equals the store there', () => {
  for (let seed = 1; seed <= 150; seed++) {
    const dice = new Dice(seed);
    const history = new History(dice);
    const catalog = newCatalog();
    catalog.replace(0n, []);
    const views = [1, 2, 7].map((every) => ({ every, cursor: 0n, shown: new Map<string, bigint>() }));
    for (let steps = 1; steps <= 80; steps++) {
      const changes = history.step().map((entry) => ({ kind: 'put', entry }) as const);
      catalog.apply({ revision: history.revision, changes });
      for (const view of views) {
        if (steps % view.every > 0) continue;
        const { upserted, removed } = difference(catalog.instances, everything, view.cursor, catalog.revision);
        for (const { scope, name } of removed) view.shown.delete(`${scope}/${name}`);
        for (const { scope, name, instance } of upserted) view.shown.set(`${scope}/${name}`, instance.revision);
        view.cursor = catalog.revision;
        assert.deepEqual(sorted(view.shown), sorted(history.shown()), `seed ${seed} at ${catalog.revision}`);
      }
    }
  }
});

const standing = (id: string, modRevision: bigint, more: Partial<Standing> = {}): Entry =>
  instanceEntry({
    ...{ service: 'pay', id, reported: REPORTED_STATE_HEALTHY, silent: false, seasoned: true, removed: false },
    ...{ visible: modRevision, modRevision, ...more },
  });
const protection = (modRevision: bigint, active: boolean, visible = modRevision, from = 1n): Entry =>
  protectionEntry({ service: 'pay', active, from, visible, modRevision });
const put = (...entries: Entry[]) => entries.map((entry) => ({ kind: 'put', entry }) as const);

test('E4: protection shows the members of its event, moves every silent instance, notifies no watch of another record, and leaves their revision', () => {
  const catalog = newCatalog();
  catalog.replace(4n, [
    standing('p1', 1n),
    standing('p2', 2n, { silent: true }),
    standing('p5', 2n, { silent: true, seasoned: false }),
    standing('p3', 3n, { reported: REPORTED_STATE_STARTING }),
    standing('p4', 4n, { reported: REPORTED_STATE_DRAINING }),
  ]);
  const seen: string[] = [];
  const taken = (change: CatalogChange): void => {
    for (const { after } of change.of(INSTANCE)) seen.push(after!.name);
  };
  catalog.subscribe('other', taken, new AbortController().signal);
  catalog.apply({ revision: 5n, changes: put(protection(5n, true)) });
  assert.deepEqual(behind(catalog, 4n), [['w/i/default/pay/p2'], ['w/i/default/pay/p5'], ['pay']]);
  assert.deepEqual(seen, []);
  const { revision, instance, modRevision } = catalog.instances.get('default', 'pay', 'p2')!;
  assert.deepEqual([revision, instance.revision, modRevision, instance.health], [5n, 2n, 2n, Health.HEALTH_UNHEALTHY]);
  catalog.apply({ revision: 6n, changes: put(protection(6n, false)) });
  assert.deepEqual(behind(catalog, 5n), [[], ['w/i/default/pay/p2', 'w/i/default/pay/p5'], ['pay']]);
});

test('E4: an instance that fell before the event, or was not seasoned, is not shown by a protection', () => {
  const catalog = newCatalog();
  const silent = { silent: true };
  catalog.replace(6n, [
    standing('before', 2n, silent),
    standing('first', 3n, silent),
    standing('fresh', 4n, { silent: true, seasoned: false }),
    protection(5n, true, 5n, 3n),
    standing('later', 6n, silent),
  ]);
  const shown = [...catalog.instances.all()].filter(({ shownByProtection }) => shownByProtection);
  assert.deepEqual(shown.map(({ name }) => name).sort(), ['first', 'later']);
});

test('E4: every cursor receives the end of a protection, also where no instance is left that it concerned', () => {
  const catalog = newCatalog();
  catalog.replace(2n, [standing('p1', 1n), protection(2n, true)]);
  let told = 0;
  catalog.instances.listenToScope('default', 'pay', () => told++);
  catalog.apply({ revision: 3n, changes: put(protection(3n, false)) });
  assert.equal(told, 1);
  assert.deepEqual(behind(catalog, 2n), [[], [], ['pay']]);
  catalog.apply({ revision: 4n, changes: put(protection(4n, false, 3n)) });
  assert.equal(told, 1, 'a write that neither begins nor ends it moves nobody');
});

test('E4: states that are asked for are shown as they are, and by default protection adds to them', () => {
  const catalog = newCatalog();
  catalog.replace(3n, [standing('p1', 1n), standing('p2', 2n, { silent: true }), protection(3n, true)]);
  const shown = (healthStates: Health[]): string[] => {
    const filter = matcher(InstanceFilter.fromPartial({ healthStates }));
    const { upserted } = difference(catalog.instances, serviceSelection('default', undefined, filter), 0n, 3n);
    return upserted.map(({ name }) => name).sort();
  };
  assert.deepEqual(shown([]), ['p1', 'p2']);
  assert.deepEqual(shown([Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED]), ['p1']);
  assert.deepEqual(shown([Health.HEALTH_UNHEALTHY]), ['p2']);
});

test('E4: a protection that another program deleted from the store stays, with an alarm', () => {
  const tally = new Map<string, number>();
  const catalog = newCatalog(tally);
  catalog.replace(2n, [standing('p1', 1n, { silent: true }), protection(2n, true)]);
  catalog.apply({ revision: 3n, changes: [{ kind: 'delete', key: protectionKey('default', 'pay') }] });
  assert.equal(catalog.instances.get('default', 'pay', 'p1')?.shownByProtection, true);
  assert.deepEqual([tally.get('foreign_deletes'), tally.get('FOREIGN_DELETE')], [1, 1]);
});
