import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Dice } from '../support/dice.js';
import { eventually } from '../support/server.js';
import {
  type CommitResult,
  Compacted,
  type Compare,
  type Entry,
  inRange,
  type KeyRange,
  LIST_PAGE_ENTRIES,
  prefixRange,
  type Revision,
  type RevisionBatch,
  RolledBack,
  type Store,
  type StoreCopy,
  StoreUnavailable,
  type Txn,
  TXN_WRITES_MAX,
  WATCHED_RANGE,
  type Write,
} from '../../src/store/store.js';

/** A store under test. */
export interface Subject {
  store: Store;
  /** Closes the store and opens it again, as a new process would. Replaces `store`. */
  reopen(): Promise<void>;
  /** Compacts the history of the store. */
  compact(): Promise<void>;
  /** Stops keeping a member alive, as if its process had died. `undefined` if members end with the store itself. */
  killMember?(key: string): Promise<void> | void;
  /** Backs up the contents of the store and returns a function that restores them. `undefined` if not supported. */
  backUp?(): () => void;
  /** Opens a copy as a store of its own, and closes it after the test. `undefined` if the store makes none. */
  openCopy?(copy: StoreCopy): Promise<Store>;
}

const text = (value: string): Buffer => Buffer.from(value);
const put = (key: string, value = 'x'): Write => ({ kind: 'put', key, value: text(value) });
const remove = (key: string): Write => ({ kind: 'delete', key });
const absent = (key: string): Compare => ({ key, modRevision: 0n });
const at = (key: string, modRevision: Revision): Compare => ({ key, modRevision });
let writes = 0;
const txn = (compares: readonly Compare[], ...changes: readonly Write[]): Txn => ({
  writeId: `w${++writes}`,
  compares,
  writes: changes,
});

/** Commits, and fails if the commit is refused. */
async function commit(store: Store, ...changes: readonly Write[]): Promise<Revision> {
  const result = await store.commit(txn([], ...changes));
  assert.ok(result.ok);
  return result.revision;
}

async function listAll(store: Store, range: KeyRange): Promise<{ revision: Revision; entries: Entry[] }> {
  const { revision, pages } = await store.list(range);
  const entries: Entry[] = [];
  for await (const page of pages) entries.push(...page);
  return { revision, entries };
}

/** Watches until the revision `until` has arrived. Returns the batches. */
async function watchUntil(store: Store, after: Revision, until: Revision): Promise<RevisionBatch[]> {
  const controller = new AbortController();
  const batches: RevisionBatch[] = [];
  for await (const batch of store.watch(after, controller.signal)) {
    batches.push(batch);
    if (batch.revision >= until) controller.abort();
  }
  return batches;
}

const valuesOf = (entries: readonly Entry[]): [string, string][] =>
  entries.map(({ key, value }) => [key, Buffer.from(value).toString()]);
/** Keys of one to four bytes a character. In Latin-1, or by the low byte of each character, some of them are equal. */
const MULTI_BYTE_KEYS = [
  'w/c/default/ab',
  'w/c/default/\u4161\u4162',
  'w/c/default/配置.yaml',
  'w/c/default/乍乮.yaml',
  'w/c/default/Mn.yaml',
  'w/c/default/é',
  'w/c/default/e\u0301',
  'w/c/default/中文/文',
  'w/c/default/中文/a',
  'w/c/default/中文',
  'w/c/default/\uFFFD',
  'w/c/default/\uE000',
  'w/c/default/😀',
  `w/c/default/${'配'.repeat(200)}`,
] as const;
const count = (results: readonly CommitResult[]): number => results.filter(({ ok }) => ok).length;

/** The cases of the guarantees S1 to S15 of the store port. */
export function storeContract(
  name: string,
  open: (t: TestContext) => Promise<Subject>,
  { restores = false, keepsHistory = true }: { restores?: boolean; keepsHistory?: boolean } = {},
): void {
  const check = (title: string, body: (subject: Subject, t: TestContext) => Promise<void>): void => {
    test(`${name}: ${title}`, async (t) => body(await open(t), t));
  };

  check('S1 the revision grows with every commit that writes, and with no other commit', async ({ store }) => {
    const first = await commit(store, put('w/i/a'));
    const second = await commit(store, put('w/i/a'));
    assert.ok(second > first);
    const refused = await store.commit(txn([absent('w/i/a')], put('w/i/a')));
    assert.equal(refused.ok, false);
    const empty = await store.commit(txn([at('w/i/a', second)]));
    assert.deepEqual(empty, { ok: true, revision: second });
    assert.equal((await store.get('w/i/a')).revision, second);
    assert.ok((await commit(store, remove('w/i/a'))) > second);
  });

  check('S1 the revision does not go back when the store is opened again', async (subject) => {
    const before = await commit(subject.store, put('w/i/a'));
    await subject.reopen();
    assert.ok((await subject.store.get('w/i/a')).revision >= before);
    assert.ok((await commit(subject.store, put('w/i/a'))) > before);
  });

  check('S2 a transaction happens whole, at one revision', async ({ store }) => {
    const before = await commit(store, put('w/i/gone'));
    const revision = await commit(store, put('w/i/a', '1'), put('u/v/b', '2'), remove('w/i/gone'));
    const a = (await store.get('w/i/a')).entry!;
    const b = (await store.get('u/v/b')).entry!;
    assert.deepEqual([a.modRevision, b.modRevision, a.createRevision], [revision, revision, revision]);
    assert.equal((await store.get('w/i/gone')).entry, undefined);
    assert.ok(revision > before);
  });

  check(
    'S2 a refused transaction changes nothing and returns the current entry of each compared key',
    async ({ store }) => {
      const revision = await commit(store, put('w/i/a', 'old'));
      const result = await store.commit(
        txn([absent('w/i/b'), at('w/i/a', revision + 1n)], put('w/i/a', 'new'), put('w/i/b')),
      );
      assert.ok(!result.ok);
      assert.equal(result.found.length, 2);
      assert.equal(result.found[0], undefined);
      assert.deepEqual(
        [result.found[1]?.modRevision, Buffer.from(result.found[1]!.value).toString()],
        [revision, 'old'],
      );
      assert.equal((await store.get('w/i/b')).entry, undefined);
      assert.equal(Buffer.from((await store.get('w/i/a')).entry!.value).toString(), 'old');
    },
  );

  check('S2 a compare checks the last write or the creation of a key', async ({ store }) => {
    const created = await commit(store, put('w/i/a'));
    const written = await commit(store, put('w/i/a'));
    const outcomes = [
      await store.commit(txn([{ key: 'w/i/a', createRevision: written }], put('w/i/x'))),
      await store.commit(txn([at('w/i/a', created)], put('w/i/x'))),
      await store.commit(txn([{ key: 'w/i/a', createRevision: 0n }], put('w/i/x'))),
      await store.commit(txn([{ key: 'w/i/x', createRevision: 0n }], put('w/i/x'))),
      await store.commit(txn([{ key: 'w/i/a', createRevision: created }, at('w/i/a', written)], put('w/i/y'))),
    ].map(({ ok }) => ok);
    assert.deepEqual(outcomes, [false, false, false, true, true]);
    await commit(store, remove('w/i/a'));
    const again = await commit(store, put('w/i/a'));
    assert.equal((await store.get('w/i/a')).entry!.createRevision, again);
  });

  check('S2 a transaction takes TXN_WRITES_MAX writes with as many compares', async ({ store }) => {
    const keys = Array.from({ length: TXN_WRITES_MAX }, (_, i) => `w/i/${i}`);
    const result = await store.commit(
      txn(
        keys.slice(0, 16).map((key) => absent(key)),
        ...keys.map((key) => put(key)),
      ),
    );
    assert.ok(result.ok);
    assert.equal((await listAll(store, prefixRange('w/i/'))).entries.length, TXN_WRITES_MAX);
  });

  check('S3 of two creates of one key exactly one happens', async ({ store }) => {
    const results = await Promise.all([1, 2].map((i) => store.commit(txn([absent('w/i/a')], put('w/i/a', `${i}`)))));
    assert.equal(count(results), 1);
    const winner = results.findIndex(({ ok }) => ok) + 1;
    assert.equal(Buffer.from((await store.get('w/i/a')).entry!.value).toString(), `${winner}`);
    const loser = results.find(({ ok }) => !ok)!;
    assert.ok(!loser.ok && Buffer.from(loser.found[0]!.value).toString() === `${winner}`);
  });

  check('S3 of two commits that each guard the key that the other writes exactly one happens', async ({ store }) => {
    for (let round = 0; round < 20; round++) {
      const x = `w/i/x${round}`;
      const y = `w/i/y${round}`;
      const results = await Promise.all([
        store.commit(txn([absent(x)], put(y))),
        store.commit(txn([absent(y)], put(x))),
      ]);
      assert.equal(count(results), 1, `round ${round}`);
    }
  });

  check('S3 many concurrent commits in conflict agree with their order by revision', async ({ store }) => {
    const dice = new Dice(7);
    const keys = ['w/i/a', 'w/i/b', 'w/i/c', 'w/i/d'];
    const revisions = new Map<string, Revision>();
    for (const key of keys) revisions.set(key, await commit(store, put(key, 'start')));
    for (let round = 0; round < 10; round++) {
      const txns = Array.from({ length: 100 }, (_, i) => {
        const guarded = dice.pick(keys);
        const written = dice.pick(keys);
        const write = dice.chance(0.2) ? remove(written) : put(written, `${round}/${i}`);
        return txn([at(guarded, revisions.get(guarded)!)], write);
      });
      const results = await Promise.all(txns.map((one) => store.commit(one)));
      const happened = txns
        .map((one, i) => ({ one, result: results[i]! }))
        .filter(({ result }) => result.ok)
        .sort((a, b) => Number(a.result.revision - b.result.revision));
      assert.ok(happened.length >= 1, 'at least the first commit happens');
      // If the commits are replayed in the order of their revisions, every compare holds.
      for (const { one, result } of happened) {
        for (const compare of one.compares) {
          assert.ok('modRevision' in compare);
          assert.equal(revisions.get(compare.key), compare.modRevision, `${one.writeId} at ${result.revision}`);
        }
        for (const write of one.writes) {
          const existed = revisions.get(write.key) !== 0n;
          if (write.kind === 'put') revisions.set(write.key, result.revision);
          else if (existed) revisions.set(write.key, 0n);
        }
      }
      for (const key of keys) assert.equal((await store.get(key)).entry?.modRevision ?? 0n, revisions.get(key));
    }
  });

  check('S3 a put and a delete of two keys under one guard both happen', async ({ store }) => {
    await commit(store, put('w/i/b'));
    const guard = await commit(store, put('w/i/guard'));
    const [a, b] = await Promise.all([
      store.commit(txn([at('w/i/guard', guard)], put('w/i/a'))),
      store.commit(txn([at('w/i/guard', guard)], remove('w/i/b'))),
    ]);
    assert.ok(a.ok && b.ok);
    assert.ok((await store.get('w/i/a')).entry);
    assert.equal((await store.get('w/i/b')).entry, undefined);
  });

  check('S4 commits of one key happen in the order in which they were submitted', async ({ store }) => {
    const results = await Promise.all(
      Array.from({ length: 300 }, (_, i) => store.commit(txn([], put('w/i/a', `${i}`), put(`w/i/other/${i}`)))),
    );
    const revisions = results.map(({ revision }) => revision);
    assert.deepEqual(
      revisions,
      [...revisions].sort((a, b) => Number(a - b)),
    );
    assert.equal(new Set(revisions).size, 300);
    assert.equal(Buffer.from((await store.get('w/i/a')).entry!.value).toString(), '299');
  });

  check('S5 an acknowledged commit is still stored after the store is opened again', async (subject) => {
    const revision = await commit(subject.store, put('w/i/a', 'kept'), put('u/v/b', 'too'));
    await commit(subject.store, put('w/i/gone'));
    await commit(subject.store, remove('w/i/gone'));
    await subject.reopen();
    const { entry } = await subject.store.get('w/i/a');
    assert.deepEqual([entry?.modRevision, Buffer.from(entry!.value).toString()], [revision, 'kept']);
    assert.ok((await subject.store.get('u/v/b')).entry);
    assert.equal((await subject.store.get('w/i/gone')).entry, undefined);
  });

  check('S5 a thousand concurrent commits are all acknowledged and all stored', async (subject) => {
    const results = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => subject.store.commit(txn([absent(`w/i/${i}`)], put(`w/i/${i}`, `${i}`)))),
    );
    assert.equal(count(results), 1_000);
    await subject.reopen();
    const { entries } = await listAll(subject.store, prefixRange('w/i/'));
    assert.equal(entries.length, 1_000);
    for (const { key, value } of entries) assert.equal(`w/i/${Buffer.from(value).toString()}`, key);
  });

  check('S6 every call to a closed store fails with StoreUnavailable', async ({ store }) => {
    await commit(store, put('w/i/a'));
    await store.close();
    await assert.rejects(store.commit(txn([], put('w/i/a'))), StoreUnavailable);
    await assert.rejects(store.commitEach([], [txn([], put('w/i/a'))]), StoreUnavailable);
    await assert.rejects(store.get('w/i/a'), StoreUnavailable);
    await assert.rejects(store.list(WATCHED_RANGE), StoreUnavailable);
    await store.close();
  });

  check('S7 a list shows one revision however many pages it takes', async ({ store }) => {
    const total = 2 * LIST_PAGE_ENTRIES + 1;
    for (let i = 0; i < total; i += TXN_WRITES_MAX) {
      const keys = Array.from({ length: Math.min(TXN_WRITES_MAX, total - i) }, (_, j) =>
        put(`w/i/${String(i + j).padStart(6, '0')}`, 'old'),
      );
      await commit(store, ...keys);
    }
    const { revision, pages } = await store.list(prefixRange('w/i/'));
    const seen: Entry[] = [];
    const sizes: number[] = [];
    for await (const page of pages) {
      sizes.push(page.length);
      seen.push(...page);
      // Writes during the reading of the list must not show in it.
      await commit(store, put('w/i/999999', 'new'), put('w/i/010000', 'new'), remove('w/i/009999'));
      await commit(store, put('w/i/009999', 'new'));
    }
    assert.equal(seen.length, total);
    assert.ok(sizes.length >= 3 && Math.max(...sizes) <= LIST_PAGE_ENTRIES, sizes.join());
    assert.ok(
      seen.every(({ value, modRevision }) => Buffer.from(value).toString() === 'old' && modRevision <= revision),
    );
    assert.deepEqual(
      seen.map(({ key }) => key),
      seen.map(({ key }) => key).sort(),
    );
    assert.ok((await store.get('w/i/999999')).revision > revision);
  });

  check('S7 a list holds the keys of its range and no others', async ({ store }) => {
    await commit(store, put('w/i/a/1'), put('w/i/a'), put('w/i/ab/1'), put('w/i/a0'), put('j/a/1'));
    assert.deepEqual(
      (await listAll(store, prefixRange('w/i/a/'))).entries.map(({ key }) => key),
      ['w/i/a/1'],
    );
    assert.deepEqual((await listAll(store, prefixRange('z/'))).entries, []);
    const first = await store.list(prefixRange('w/i/'));
    for await (const page of first.pages) {
      assert.equal(page.length, 4);
      break; // a reader may stop before the end
    }
  });

  check('S8 a get sees every commit that was acknowledged before', async ({ store }) => {
    for (let i = 0; i < 50; i++) {
      const revision = await commit(store, put('w/i/a', `${i}`));
      const { entry, revision: seen } = await store.get('w/i/a');
      assert.equal(Buffer.from(entry!.value).toString(), `${i}`);
      assert.ok(seen >= revision);
    }
    assert.equal((await store.get('w/i/nothing')).entry, undefined);
  });

  check('S9 a watch delivers every later revision whole, in order and once', async ({ store }) => {
    const start = await commit(store, put('w/i/before'));
    const expected: [Revision, string[]][] = [];
    const run = async (): Promise<void> => {
      for (let i = 0; i < 200; i++) {
        const changes = [put(`w/i/a${i}`), put(`w/c/b${i}`), ...(i % 10 === 9 ? [remove(`w/i/a${i - 1}`)] : [])];
        expected.push([await commit(store, ...changes), changes.map(({ key }) => key)]);
      }
      expected.push([await commit(store, put('w/i/end')), ['w/i/end']]);
    };
    const controller = new AbortController();
    const watching = (async () => {
      const batches: RevisionBatch[] = [];
      for await (const batch of store.watch(start, controller.signal)) {
        batches.push(batch);
        if (batch.changes.some((change) => change.kind === 'put' && change.entry.key === 'w/i/end')) controller.abort();
      }
      return batches;
    })();
    await run();
    const keysOf = ({ revision, changes }: RevisionBatch): [Revision, string[]] => [
      revision,
      changes.map((change) => (change.kind === 'put' ? change.entry.key : change.key)).sort(),
    ];
    const sorted = expected.map(([revision, keys]): [Revision, string[]] => [revision, keys.sort()]);
    assert.deepEqual((await watching).map(keysOf), sorted);
    // A watch that begins later, and one that resumes in the middle, deliver the same.
    const end = sorted.at(-1)![0];
    assert.deepEqual((await watchUntil(store, start, end)).map(keysOf), sorted);
    assert.deepEqual((await watchUntil(store, sorted[99]![0], end)).map(keysOf), sorted.slice(100));
  });

  check(
    'S9 a watch leaves out keys outside the watched range and delivers entries as they were written',
    async ({ store }) => {
      const start = await commit(store, put('w/i/a', 'first'));
      await commit(store, put('u/v/outside'));
      const both = await commit(store, put('u/v/outside', 'y'), put('w/i/a', 'second'));
      const batches = await watchUntil(store, start, both);
      assert.equal(batches.length, 1);
      const [change] = batches[0]!.changes;
      assert.equal(batches[0]!.changes.length, 1);
      assert.ok(change?.kind === 'put');
      assert.deepEqual(
        [
          change.entry.key,
          Buffer.from(change.entry.value).toString(),
          change.entry.modRevision,
          change.entry.createRevision,
        ],
        ['w/i/a', 'second', both, start],
      );
      assert.ok(inRange(WATCHED_RANGE, change.entry.key));
    },
  );

  check('S9 many concurrent commits reach a watch one revision at a time', async ({ store }) => {
    const start = await commit(store, put('w/i/start'));
    const results = await Promise.all(
      Array.from({ length: 500 }, (_, i) => store.commit(txn([], put(`w/i/${i}`), put(`w/n/${i}`)))),
    );
    const revisions = results.map(({ revision }) => revision).sort((a, b) => Number(a - b));
    const batches = await watchUntil(store, start, revisions.at(-1)!);
    const seen = batches.flatMap(({ changes }) =>
      changes.map((change) => (change.kind === 'put' ? change.entry.key : '')),
    );
    assert.equal(seen.length, 1_000);
    assert.equal(new Set(seen).size, 1_000);
    assert.deepEqual(
      batches.map(({ revision }) => revision),
      [...new Set(revisions)],
    );
    for (const { revision, changes } of batches) {
      const names = changes.map((change) => (change.kind === 'put' ? change.entry.key.slice('w/i/'.length) : ''));
      for (const name of names) assert.equal(names.filter((other) => other === name).length, 2, `${revision} is whole`);
    }
  });

  check('S10 a watch that needs compacted revisions ends with Compacted', async (subject) => {
    const first = await commit(subject.store, put('w/i/a'));
    const last = await commit(subject.store, put('w/i/b'));
    await subject.compact();
    await assert.rejects(watchUntil(subject.store, first - 1n, last), Compacted);
    const next = await commit(subject.store, put('w/i/c'));
    const { revision } = await subject.store.get('w/i/c');
    const batches = await watchUntil(subject.store, revision - 1n, next);
    assert.deepEqual(
      batches.map((batch) => batch.revision),
      [next],
    );
  });

  if (keepsHistory)
    check(
      'S15 the past is what existed at the oldest revision, and every later revision of the range',
      async (subject) => {
        await commit(subject.store, put('w/i/older'));
        const stood = await commit(subject.store, put('w/i/a', 'stood'), put('w/c/out'), remove('w/i/older'));
        const both = await commit(subject.store, put('w/i/b', 'first'), put('w/i/c'));
        const oldest = await commit(subject.store, put('w/i/b', 'second'));
        await subject.compact();
        const changed = await commit(subject.store, put('w/i/a', 'changed'), put('w/i/d'));
        await commit(subject.store, put('w/c/out'));
        const removed = await commit(subject.store, remove('w/i/c'));
        await subject.reopen();
        const until = await commit(subject.store, put('w/c/until'));
        await commit(subject.store, put('w/i/later'));
        const past = await subject.store.past(prefixRange('w/i/'), until, new AbortController().signal);
        const delivered: [Revision, string[]][] = [];
        for await (const { revision, changes } of past!.batches) {
          const names = changes.map((one) =>
            one.kind === 'put' ? `${one.entry.key}=${Buffer.from(one.entry.value).toString()}` : `${one.key} removed`,
          );
          delivered.push([revision, names.sort()]);
        }
        assert.ok(past!.from >= oldest && past!.from < changed, `${past!.from} of ${oldest} and ${changed}`);
        assert.deepEqual(delivered, [
          [stood, ['w/i/a=stood']],
          [both, ['w/i/c=x']],
          [oldest, ['w/i/b=second']],
          [changed, ['w/i/a=changed', 'w/i/d=x']],
          [removed, ['w/i/c removed']],
        ]);
      },
    );
  else
    check('S15 a store whose history ends with the process has no past', async (subject) => {
      const until = await commit(subject.store, put('w/i/a'));
      assert.equal(await subject.store.past(WATCHED_RANGE, until, new AbortController().signal), undefined);
    });

  check('S16 a copy has everything up to its revision and nothing later, while commits go on', async (subject) => {
    const { store } = subject;
    const copy = await store.copy();
    if ('command' in copy) return assert.match(copy.command, /snapshot|none/);
    await copy.close();
    let isOver = false;
    const committed: Revision[] = [];
    const writing = (async () => {
      for (let i = 0; !isOver; i++)
        committed.push(await commit(store, put(`w/i/a${i % 50}`, String(i)), put('w/i/z', String(i))));
    })();
    for (let round = 0; round < 5; round++) {
      await eventually(() => committed.length > 20 * (round + 1));
      const before = committed.at(-1)!;
      const one = await store.copy();
      assert.ok('revision' in one && one.revision >= before, 'what was acknowledged is in it');
      const { entries, revision } = await listAll(await subject.openCopy!(one), WATCHED_RANGE);
      await one.close();
      assert.equal(revision, one.revision);
      const last = entries.find(({ key }) => key === 'w/i/z')!;
      assert.equal(last.modRevision, revision, 'the last commit is in it');
      assert.ok(
        entries.some(({ key, modRevision }) => key !== 'w/i/z' && modRevision === revision),
        'as a whole',
      );
    }
    isOver = true;
    await writing;
  });

  check(
    'S11 commitEach commits the transactions whose own compares hold, at a revision that no other commit shares',
    async ({ store }) => {
      const guard = await commit(store, put('w/m/self'));
      const a = await commit(store, put('w/i/a'));
      await commit(store, put('w/i/b'));
      const [results, other] = await Promise.all([
        store.commitEach(
          [at('w/m/self', guard)],
          [
            txn([at('w/i/a', a)], put('w/i/a', 'verdict')),
            txn([at('w/i/b', a)], put('w/i/b', 'verdict')),
            txn([absent('w/i/c')], put('w/i/c', 'verdict')),
          ],
        ),
        store.commit(txn([], put('w/i/d'))),
      ]);
      assert.deepEqual(
        results.map(({ ok }) => ok),
        [true, false, true],
      );
      assert.equal(results[0]!.revision, results[2]!.revision);
      assert.notEqual(results[0]!.revision, other.revision);
      const refused = results[1]!;
      assert.ok(!refused.ok && refused.found[0]?.key === 'w/i/b');
      assert.deepEqual(valuesOf((await listAll(store, prefixRange('w/i/'))).entries), [
        ['w/i/a', 'verdict'],
        ['w/i/b', 'x'],
        ['w/i/c', 'verdict'],
        ['w/i/d', 'x'],
      ]);
      const batch = (await watchUntil(store, a, results[0]!.revision)).find(
        ({ revision }) => revision === results[0]!.revision,
      )!;
      assert.equal(batch.changes.length, 2);
    },
  );

  check('S11 commitEach does nothing when its guard does not hold', async ({ store }) => {
    const revision = await commit(store, put('w/m/self'));
    const results = await store.commitEach(
      [at('w/m/self', revision + 1n)],
      [txn([absent('w/i/a')], put('w/i/a')), txn([], put('w/i/b'))],
    );
    assert.equal(count(results), 0);
    assert.equal((await store.get('w/i/a')).revision, revision);
    assert.deepEqual((await listAll(store, prefixRange('w/i/'))).entries, []);
  });

  check('S11 commitEach takes transactions with several compares under a guard', async ({ store }) => {
    const guard = await commit(store, put('w/m/self'));
    const results = await store.commitEach(
      [at('w/m/self', guard), absent('w/m/other')],
      Array.from({ length: 200 }, (_, i) =>
        txn([absent(`w/h/${i}`), absent(`w/i/${i}`), absent('w/s/one'), absent(`w/o/${i}`)], put(`w/h/${i}`)),
      ),
    );
    assert.equal(count(results), 200);
  });

  check('S11 commitEach takes a thousand transactions', async ({ store }) => {
    const guard = await commit(store, put('w/m/self'));
    const results = await store.commitEach(
      [at('w/m/self', guard)],
      Array.from({ length: 1_000 }, (_, i) => txn([absent(`w/i/${i}`)], put(`w/i/${i}`))),
    );
    assert.equal(count(results), 1_000);
    assert.equal((await listAll(store, prefixRange('w/i/'))).entries.length, 1_000);
  });

  check(
    'S12 a member key has its epoch, can be rewritten, and is deleted when the member leaves',
    async ({ store }) => {
      const member = await store.join('w/m/one', text('hello'));
      const entry = (await store.get('w/m/one')).entry!;
      assert.equal(entry.createRevision, member.epoch);
      assert.equal(member.lost.aborted, false);
      assert.equal(await member.rewrite(text('again')), true);
      const rewritten = (await store.get('w/m/one')).entry!;
      assert.equal(rewritten.createRevision, member.epoch);
      assert.ok(rewritten.modRevision > member.epoch);
      assert.equal(Buffer.from(rewritten.value).toString(), 'again');
      await assert.rejects(store.join('w/m/one', text('second')), StoreUnavailable);
      await member.leave();
      assert.equal((await store.get('w/m/one')).entry, undefined);
      assert.equal(member.lost.aborted, true);
    },
  );

  check('S12 a rewrite is refused if the key was created again by another commit', async ({ store }) => {
    const member = await store.join('w/m/one', text('first'));
    await commit(store, remove('w/m/one'));
    await commit(store, put('w/m/one', 'other'));
    assert.equal(await member.rewrite(text('late')), false);
    assert.equal(Buffer.from((await store.get('w/m/one')).entry!.value).toString(), 'other');
  });

  check('S12 the key of a member whose process has died is removed', async (subject) => {
    const member = await subject.store.join('w/m/one', text('hello'));
    await commit(subject.store, put('w/i/a'));
    if (subject.killMember) {
      await subject.killMember('w/m/one');
      const until = (await watchUntil(subject.store, member.epoch, member.epoch + 2n)).at(-1)!;
      assert.deepEqual(until.changes, [{ kind: 'delete', key: 'w/m/one' }]);
      await eventually(() => member.lost.aborted);
    } else {
      await subject.reopen();
    }
    assert.equal((await subject.store.get('w/m/one')).entry, undefined);
    assert.ok((await subject.store.get('w/i/a')).entry, 'only member keys are on a lease');
  });

  check('S13 keys and values come back byte for byte, and keys in byte order', async (subject) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const large = Buffer.alloc(512 * 1_024, 7);
    const keys = [
      'w/i/-',
      'w/i/.',
      'w/i/0',
      'w/i/A',
      'w/i/A/',
      'w/i/A/b',
      'w/i/AA',
      'w/i/Z',
      'w/i/_',
      'w/i/a',
      `w/i/${'k'.repeat(500)}`,
      'w/i/~',
    ];
    for (const key of [...keys].reverse()) await subject.store.commit(txn([], { kind: 'put', key, value: bytes }));
    await subject.store.commit(txn([], { kind: 'put', key: 'u/v/large', value: large }));
    await subject.store.commit(txn([], { kind: 'put', key: 'u/v/empty', value: Buffer.alloc(0) }));
    await subject.reopen();
    const { entries } = await listAll(subject.store, prefixRange('w/i/'));
    assert.deepEqual(
      entries.map(({ key }) => key),
      keys,
    );
    for (const { value } of entries) assert.ok(bytes.equals(value));
    assert.ok(large.equals((await subject.store.get('u/v/large')).entry!.value));
    assert.equal((await subject.store.get('u/v/empty')).entry!.value.length, 0);
  });

  check('S13 keys with multi-byte characters stay distinct and come back byte for byte', async (subject) => {
    const start = await commit(subject.store, put('w/c/start'));
    const end = await commit(subject.store, ...MULTI_BYTE_KEYS.map((key) => put(key, key)));
    const batches = await watchUntil(subject.store, start, end);
    const watched = batches.flatMap(({ changes }) =>
      changes.map((change) => (change.kind === 'put' ? change.entry : undefined)),
    );
    for (const key of MULTI_BYTE_KEYS) {
      const { entry } = await subject.store.get(key);
      assert.deepEqual(valuesOf([entry!]), [[key, key]]);
      const seen = watched.filter((other) => other?.key === key);
      assert.deepEqual(valuesOf(seen as Entry[]), [[key, key]]);
    }
    await subject.reopen();
    const { entries } = await listAll(subject.store, prefixRange('w/c/default/'));
    assert.deepEqual(new Map(valuesOf(entries)), new Map(MULTI_BYTE_KEYS.map((key) => [key, key])));
    const refused = await subject.store.commit(txn([absent('w/c/default/配置.yaml')], put('w/c/default/x')));
    assert.ok(!refused.ok);
    assert.equal(refused.found[0]?.key, 'w/c/default/配置.yaml');
    const removed = await commit(subject.store, remove('w/c/default/乍乮.yaml'));
    const [last] = await watchUntil(subject.store, end, removed).then((after) => after.slice(-1));
    assert.deepEqual(last?.changes, [{ kind: 'delete', key: 'w/c/default/乍乮.yaml' }]);
    assert.equal(
      (await listAll(subject.store, prefixRange('w/c/default/'))).entries.length,
      MULTI_BYTE_KEYS.length - 1,
    );
  });

  check('S13 lists and ranges with multi-byte characters are in byte order', async ({ store }) => {
    await commit(store, ...MULTI_BYTE_KEYS.map((key) => put(key)));
    const inOrder = [...MULTI_BYTE_KEYS].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const keysIn = async (range: KeyRange): Promise<string[]> =>
      (await listAll(store, range)).entries.map(({ key }) => key);
    assert.deepEqual(await keysIn(prefixRange('w/c/default/')), inOrder);
    // UTF-16 order would put the emoji, a surrogate pair, before U+FFFD.
    assert.deepEqual(await keysIn({ start: 'w/c/default/\uFFFD', end: 'w/c/default0' }), [
      'w/c/default/\uFFFD',
      'w/c/default/😀',
    ]);
    assert.deepEqual(await keysIn(prefixRange('w/c/default/中文/')), ['w/c/default/中文/a', 'w/c/default/中文/文']);
    assert.deepEqual(await keysIn({ start: inOrder[3]!, end: inOrder[7]! }), inOrder.slice(3, 7));
  });

  // For etcd, S14 takes a process of its own: test/faults/etcd-store.test.ts.
  if (!restores) return;
  check(
    'S14 after a restore of an older state, open watches and open lists end with RolledBack',
    async (subject, t) => {
      const { store } = subject;
      const first = await commit(store, put('w/i/a', 'old'));
      const restore = subject.backUp!();
      const second = await commit(store, put('w/i/a', 'new'));
      const { pages } = await store.list(prefixRange('w/i/'));
      const watch = store.watch(second, t.signal)[Symbol.asyncIterator]();
      const next = watch.next();
      restore();
      await assert.rejects(async () => {
        for await (const page of pages) assert.ok(page.length > 0);
      }, RolledBack);
      await assert.rejects(next, RolledBack);
      assert.equal((await store.get('w/i/a')).revision, first);
    },
  );
}
