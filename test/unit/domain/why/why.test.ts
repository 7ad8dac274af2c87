import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Question, reasonsFor } from '../../../../src/domain/why.js';
import { GroundKind, Presence } from '../../../../src/gen/rollcall/v1/admin_service.js';
import { EXPECTED, SIMILAR } from './expected.js';
import { SITUATIONS } from './situations.js';

test('every situation has an expected ground, and the other way round', () => {
  assert.deepEqual(Object.keys(SITUATIONS).sort(), Object.keys(EXPECTED).sort());
  assert.ok(Object.keys(SITUATIONS).length >= 25);
});

for (const [name, [presence, ground, words = /./]] of Object.entries(EXPECTED))
  test(`why, for an instance that is ${name}`, async () => {
    const { stage, question = {} } = await SITUATIONS[name]!();
    const asked: Question = {
      ...{
        namespace: 'default',
        service: 'pay',
        id: 'p1',
        incarnation: undefined,
        filter: undefined,
        subset: undefined,
      },
      ...{ tooLarge: () => false, wasHeard: true, sees: () => true },
      ...question,
    };
    const answer = reasonsFor(stage.replica, asked);
    const [first] = answer.grounds;
    assert.deepEqual(
      [Presence[answer.presence], GroundKind[first!.kind]],
      [`PRESENCE_${presence}`, `GROUND_KIND_${ground}`],
      JSON.stringify(answer.grounds, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
    );
    assert.match(first!.text, words);
    assert.deepEqual(answer.similar, SIMILAR[name] ?? []);
  });

test('why names what lies below the ground that decides', async () => {
  const { stage } = await SITUATIONS['disabled, and silent below']!();
  const question = { namespace: 'default', service: 'pay', id: 'p1', incarnation: undefined, filter: undefined };
  const { grounds } = reasonsFor(stage.replica, {
    ...{ ...question, subset: undefined, tooLarge: () => false, wasHeard: false, sees: () => true },
  });
  assert.deepEqual(
    grounds.slice(0, 2).map(({ kind, ok }) => [GroundKind[kind].replace('GROUND_KIND_', ''), ok]),
    [
      ['DISABLED', false],
      ['SILENT', false],
    ],
  );
});

test('why names nothing similar that the caller does not see', async () => {
  const { stage } = await SITUATIONS['of another namespace']!();
  const { similar } = reasonsFor(stage.replica, {
    ...{ namespace: 'default', service: 'pay', id: 'p1', incarnation: undefined, filter: undefined, subset: undefined },
    ...{ tooLarge: () => false, wasHeard: true, sees: (namespace) => namespace === 'default' },
  });
  assert.deepEqual(similar, []);
});
