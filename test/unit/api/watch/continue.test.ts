import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Encoded, sizeOf, whole } from '../../../../src/api/call/message.js';
import { sinkOf } from '../../../support/sink.js';
import { servicesCodec } from '../../../../src/api/watch/codecs.js';
import { hubOf } from '../../../support/hub.js';
import { Catalog } from '../../../../src/catalog/catalog.js';
import type { Freshness } from '../../../../src/catalog/freshness.js';
import { HorizonRecord, InstanceRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { WatchServicesResponse } from '../../../../src/gen/rollcall/v1/registry_service.js';
import { ResetReason, WatchKind } from '../../../../src/gen/rollcall/v1/watch.js';
import { writeInstance } from '../../../../src/model/instance.js';
import { HORIZON_KEY } from '../../../../src/model/store-facts.js';
import { decodeResumeToken } from '../../../../src/model/tokens.js';
import { matcher } from '../../../../src/domain/registry/filter.js';
import { serviceSelection } from '../../../../src/domain/registry/watching.js';
import type { Change, Entry, RevisionBatch } from '../../../../src/store/store.js';
import { Dice } from '../../../support/dice.js';
import { NO_READER } from '../../../support/stage.js';
import { type Flat, flat } from '../../../support/progress.js';
import { SimProcess, tallyingTelemetry } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';

const SERVICES = ['pay', 'cart', 'mail'];
const IDS = Array.from({ length: 8 }, (_, i) => `p${i}`);
/** A record and its piece are 40 to 60 bytes: two or three to a part. */
const PART_BYTES = 150;

/** A state of an instance in the store. */
interface State {
  readonly revision: bigint;
  readonly shown: 'yes' | 'silent' | 'removed';
}

/** A server: a catalog that is at some place in the history of the store, and its hub. */
class Server {
  readonly #process = new SimProcess(new World());
  readonly catalog = new Catalog({ clock: this.#process.clock, telemetry: tallyingTelemetry(new Map()) });
  readonly hub = hubOf({
    catalog: this.catalog,
    freshness: { stamp: () => ({ staleForMs: undefined }) } as unknown as Freshness,
    clock: this.#process.clock,
    random: { id: () => 'id', fraction: () => 0 },
    telemetry: tallyingTelemetry(new Map()),
    partBytes: PART_BYTES,
  });
  /** How much of the history it has seen. */
  seen = 0;

  constructor() {
    this.hub.start();
  }

  follow(history: readonly RevisionBatch[], to: number): void {
    if (this.seen === 0) this.catalog.replace(0n, []);
    for (; this.seen < to; this.seen++) this.catalog.apply(history[this.seen]!);
  }

  /** Reads the store anew, as after a start. */
  list(entries: readonly Entry[], history: readonly RevisionBatch[]): void {
    this.catalog.replace(BigInt(history.length), entries);
    this.seen = history.length;
  }
}

/** The store: its history, and what each key has been. */
class Store {
  readonly history: RevisionBatch[] = [];
  readonly entries = new Map<string, Entry>();
  readonly states = new Map<string, State[]>();
  horizon = 0n;

  constructor(private readonly dice: Dice) {}

  get revision(): bigint {
    return BigInt(this.history.length);
  }

  /** One revision that changes some instances. */
  write(): void {
    const revision = this.revision + 1n;
    const keys = new Set(
      Array.from(
        { length: Math.ceil(this.dice.between(0, 5)) },
        () => `${this.dice.pick(SERVICES)}/${this.dice.pick(IDS)}`,
      ),
    );
    const changes = [...keys].map((key): Change => {
      const shown = this.dice.pick(['yes', 'yes', 'yes', 'silent', 'removed'] as const);
      const [service, id] = key.split('/') as [string, string];
      const record = InstanceRecord.fromPartial({
        writeId: 'w',
        instance: { namespace: 'default', service, id, incarnation: 'a' },
        silent: shown === 'silent',
        ...(shown === 'removed' && { tombstone: { reason: 1, time: { seconds: 1n, nanos: 0 } } }),
      });
      this.states.set(key, [...(this.states.get(key) ?? []), { revision, shown }]);
      return this.#put({
        key: `w/i/default/${key}`,
        value: writeInstance(record),
        modRevision: revision,
        createRevision: 1n,
      });
    });
    this.history.push({ revision, changes });
  }

  /** Deletes all tombstones that are older than a revision. */
  collect(olderThan: bigint): void {
    const old = [...this.states].filter(
      ([key, states]) =>
        states.at(-1)!.shown === 'removed' &&
        states.at(-1)!.revision <= olderThan &&
        this.entries.has(`w/i/default/${key}`),
    );
    if (old.length === 0) return;
    for (const [, states] of old) if (states.at(-1)!.revision > this.horizon) this.horizon = states.at(-1)!.revision;
    const revision = this.revision + 1n;
    const value = HorizonRecord.encode(HorizonRecord.fromPartial({ writeId: 'w', revision: this.horizon })).finish();
    const changes = [
      ...old.map(([key]): Change => ({ kind: 'delete', key: `w/i/default/${key}` })),
      this.#put({ key: HORIZON_KEY, value, modRevision: revision, createRevision: 1n }),
    ];
    for (const [key] of old) this.entries.delete(`w/i/default/${key}`);
    this.history.push({ revision, changes });
  }

  /** The instances that are shown at a revision, with the revision of each. */
  shownAt(revision: bigint): Map<string, bigint> {
    const shown = new Map<string, bigint>();
    for (const [key, states] of this.states) {
      const state = states.findLast((one) => one.revision <= revision);
      if (state?.shown === 'yes') shown.set(key, state.revision);
    }
    return shown;
  }

  #put(entry: Entry): Change {
    this.entries.set(entry.key, entry);
    return { kind: 'put', entry };
  }
}

/** A client that follows the loop of the contract, and remembers every token. */
class Client {
  view = new Map<string, bigint>();
  revision = 0n;
  token = '';
  hidden = new Map<string, number>();
  #staged: Flat<WatchServicesResponse>[] = [];
  #isFirst = true;
  readonly counts = { views: 0, continued: 0, resets: 0 };

  begin(): void {
    this.#isFirst = true;
  }

  take(message: Flat<WatchServicesResponse>): void {
    if (this.#isFirst && !message.continues) this.#staged = [];
    if (this.#isFirst && message.continues) this.counts.continued++;
    if (message.resetReason === ResetReason.RESET_REASON_TOKEN_TOO_OLD) this.counts.resets++;
    this.#isFirst = false;
    this.#staged.push(message);
    if (message.revision === 0n) {
      if (message.continueToken !== '') this.token = message.continueToken;
      assert.equal(message.resumeToken, '');
      return;
    }
    if (this.#staged.some(({ kind }) => kind === WatchKind.WATCH_KIND_SNAPSHOT)) {
      this.view = new Map();
      this.hidden = new Map();
    }
    for (const { upserted, removed, services } of this.#staged) {
      for (const { service, id } of removed) this.view.delete(`${service}/${id}`);
      for (const { service, id, revision } of upserted) this.view.set(`${service}/${id}`, revision);
      for (const { service, hiddenCount } of services) this.hidden.set(service, hiddenCount);
    }
    this.#staged = [];
    this.revision = message.revision;
    this.token = message.resumeToken;
    this.counts.views++;
  }
}

/** Reads one stream of a server, of which only the first messages arrive. */
function read(server: Server, client: Client, arrive: number): void {
  const filter = matcher(undefined);
  let arrived = 0;
  let closed = (): void => undefined;
  client.begin();
  const write = (message: Encoded): number => {
    if (arrived++ < arrive) client.take(flat(WatchServicesResponse.decode(whole(message))));
    return sizeOf(message);
  };
  const onReleased = (listener: () => void): void => void (closed = listener);
  const transport = { write, end: () => closed(), onClosed: () => undefined, onReleased };
  const sink = sinkOf(transport, (error) => {
    throw error;
  });
  const selection = serviceSelection('default', undefined, filter);
  const collection = server.catalog.instances;
  server.hub.open(
    { collection, selection, codec: servicesCodec(filter), resumeToken: client.token, reader: NO_READER },
    sink,
  );
  closed();
}

const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

function play(seed: number): Client['counts'] {
  const dice = new Dice(seed);
  const store = new Store(dice);
  const servers = [new Server(), new Server()];
  const client = new Client();
  store.write(); // no store is at revision 0 when it is watched
  for (let step = 0; step < 60; step++) {
    const writes = Math.floor(dice.between(0, 6));
    for (let i = 0; i < writes; i++) store.write();
    if (dice.chance(0.15)) store.collect(store.revision - BigInt(Math.floor(dice.between(0, 12))));
    const server = dice.pick(servers);
    // A server that is not as far as the token lets it wait.
    const needed = dice.chance(0.2) ? 0 : Number(neededBy(client));
    const to = Math.floor(dice.between(Math.max(server.seen, needed, 1), store.history.length + 1));
    if (server.seen > 0 && dice.chance(0.1)) server.list([...store.entries.values()], store.history);
    else server.follow(store.history, Math.max(to, needed));
    const before = client.counts.views;
    read(server, client, dice.chance(0.3) ? Infinity : Math.floor(dice.between(0, 6)));
    if (client.counts.views === before) continue;
    const text = `seed ${seed}, step ${step}, revision ${client.revision}`;
    assert.deepEqual(sorted(client.view), sorted(store.shownAt(client.revision)), text);
    for (const service of SERVICES) {
      const silent = [...store.states].filter(
        ([key, states]) =>
          key.startsWith(`${service}/`) &&
          states.findLast(({ revision }) => revision <= client.revision)?.shown === 'silent',
      );
      assert.equal(client.hidden.get(service) ?? 0, silent.length, `${text}, hidden of ${service}`);
    }
  }
  return client.counts;
}

/** The revision that a server must have seen to go on at the token of a client. */
function neededBy({ token }: Client): bigint {
  const { revision, unfinished } = decodeResumeToken(token) ?? { revision: 0n };
  return [revision, unfinished?.to ?? 0n].reduce((a, b) => (a > b ? a : b));
}

test('W1 W3: a view that comes in pieces over streams of several servers is the view of its revision', () => {
  const sum = { views: 0, continued: 0, resets: 0 };
  for (let seed = 1; seed <= 400; seed++) {
    const counts = play(seed);
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += counts[name];
  }
  assert.ok(sum.views > 1_000 && sum.continued > 1_000 && sum.resets > 100, JSON.stringify(sum));
});
