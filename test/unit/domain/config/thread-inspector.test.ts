import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type Clock, systemClock } from '../../../../src/base/clock.js';
import { type FormattedText, inspectAll } from '../../../../src/domain/config/inspection/inspector.js';
import { ThreadInspector } from '../../../../src/domain/config/inspection/thread-inspector.js';
import { ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';
import type { RollcallError } from '../../../../src/model/errors.js';
import { LIMITS } from '../../../../src/model/limits.js';
import { temporaryFolder } from '../../../support/server.js';

const YAML = ConfigFormat.CONFIG_FORMAT_YAML;
const lines = (count: number): string => Array.from({ length: count }, (_, i) => `key-${i}: ${i}`).join('\n');
const good: FormattedText = { format: YAML, text: lines(2_000) };
const bad: FormattedText = { format: YAML, text: `${lines(2_000)}\nlast: [1, 2\n` };
const small: FormattedText = { format: YAML, text: 'a: [1' };

/** The signal of a call whose client waits. */
const STAYS = new AbortController().signal;

const BUILT = new URL('../../../../dist/domain/config/inspection/thread.js', import.meta.url);

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const LOG = { ...silent, child: () => LOG };

/** An inspector, its counts, and a way to let the time of an inspection run out. */
function open(t: TestContext, program?: string): { inspector: ThreadInspector; counts: string[]; timeUp: () => void } {
  const timers: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    after: (_, fire) => {
      timers.push(fire);
      return { cancel: () => void timers.splice(timers.indexOf(fire), 1) };
    },
  };
  const counts: string[] = [];
  let file = BUILT;
  if (program !== undefined) {
    const path = join(temporaryFolder(), 'thread.mjs');
    writeFileSync(path, `import { parentPort } from 'node:worker_threads';\n${program}`);
    file = pathToFileURL(path);
  }
  const inspector = new ThreadInspector({
    ...{ clock, log: LOG, program: file },
    counters: { add: ({ name }) => void counts.push(name) },
  });
  t.after(() => inspector.close());
  return { inspector, counts, timeUp: () => timers[0]!() };
}

const reasonOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'OK',
    (error: RollcallError) => error.reason ?? error.message,
  );

test('the thread finds what a call in this thread finds, for each request in turn', async (t) => {
  const { inspector } = open(t);
  inspector.start();
  const requests = [[good], [bad], [good, bad, small], [bad, bad]];
  const found = await Promise.all(requests.map((texts) => inspector.inspect(texts, STAYS)));
  assert.deepEqual(found, requests.map(inspectAll));
  assert.ok(found[1]![0]!.fault);
});

test('small requests need no thread; the size of a request counts, and not that of each text', async (t) => {
  const { inspector } = open(t, "parentPort.on('message', () => parentPort.postMessage('from the thread'));");
  assert.deepEqual(await inspector.inspect([small], STAYS), inspectAll([small]));
  const quarter: FormattedText = { format: YAML, text: `a: ${'x'.repeat(1_020)}` };
  assert.deepEqual(
    await inspector.inspect([quarter, quarter, quarter, quarter], STAYS),
    inspectAll(Array(4).fill(quarter)),
  );
  assert.equal(await inspector.inspect([quarter, quarter, quarter, quarter, small], STAYS), 'from the thread');
});

test('a bounded number of requests waits, and further ones are refused', async (t) => {
  const { inspector, counts } = open(t);
  const waiting = Array.from({ length: LIMITS.PARSED_REQUESTS.value }, () =>
    reasonOf(inspector.inspect([good], STAYS)),
  );
  assert.equal(await reasonOf(inspector.inspect([good], STAYS)), 'VALIDATOR_BUSY');
  assert.deepEqual(counts, ['inspections_refused']);
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(['OK']));
  assert.equal(await reasonOf(inspector.inspect([good], STAYS)), 'OK');
});

test('a bounded number of bytes waits', async (t) => {
  const { inspector } = open(t);
  const half: FormattedText = {
    format: ConfigFormat.CONFIG_FORMAT_JSON,
    text: `"${'x'.repeat(LIMITS.PARSED_BYTES.value / 2)}`,
  };
  const first = reasonOf(inspector.inspect([half], STAYS));
  assert.equal(await reasonOf(inspector.inspect([half], STAYS)), 'VALIDATOR_BUSY');
  assert.equal(await first, 'OK');
  assert.equal(await reasonOf(inspector.inspect([half], STAYS)), 'OK');
});

test('a request that takes too long is given up alone', async (t) => {
  const { inspector, counts, timeUp } = open(
    t,
    "parentPort.on('message', ([{ text }]) => { while (text.startsWith('slow')); parentPort.postMessage([text.length]); });",
  );
  const slow: FormattedText = { format: YAML, text: `slow${'x'.repeat(5_000)}` };
  const first = reasonOf(inspector.inspect([slow], STAYS));
  const second = inspector.inspect([good], STAYS);
  timeUp();
  assert.equal(await first, 'VALIDATION_TOO_COSTLY');
  assert.deepEqual(await second, [good.text.length]);
  assert.deepEqual(counts, ['inspections_given_up']);
});

test('a thread that dies is replaced, and only its request is refused', async (t) => {
  const { inspector } = open(
    t,
    "parentPort.on('message', ([{ text }]) => { if (text.startsWith('exit')) process.exit(1); if (text.startsWith('throw')) throw new Error('x'); parentPort.postMessage([text.length]); });",
  );
  for (const end of ['exit', 'throw']) {
    const first = reasonOf(inspector.inspect([{ format: YAML, text: end.padEnd(5_000, 'x') }], STAYS));
    const second = inspector.inspect([good], STAYS);
    assert.equal(await first, 'the thread that parses configs ended', end);
    assert.deepEqual(await second, [good.text.length], end);
  }
});

test('who waits when the server stops is told so', async (t) => {
  const { inspector } = open(t);
  const waiting = [reasonOf(inspector.inspect([good], STAYS)), reasonOf(inspector.inspect([good], STAYS))];
  await inspector.close();
  assert.deepEqual(await Promise.all(waiting), ['SHUTTING_DOWN', 'SHUTTING_DOWN']);
});

test('a request whose caller has gone is taken out of the queue, and nothing follows from one in the thread', async (t) => {
  const { inspector } = open(t);
  const gone = new AbortController();
  const running = reasonOf(inspector.inspect([good], gone.signal));
  const waiting = reasonOf(inspector.inspect([good], gone.signal));
  const stays = reasonOf(inspector.inspect([good], STAYS));
  gone.abort();
  assert.equal(await waiting, 'TIMED_OUT');
  assert.deepEqual(await Promise.all([running, stays]), ['TIMED_OUT', 'OK']);
});

test('a closed inspector starts no thread', async (t) => {
  const { inspector } = open(t);
  await inspector.close();
  assert.equal(await reasonOf(inspector.inspect([good], STAYS)), 'SHUTTING_DOWN');
});
