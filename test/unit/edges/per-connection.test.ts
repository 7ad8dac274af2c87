import assert from 'node:assert/strict';
import { test } from 'node:test';
import { perConnection } from '../../../src/edges/wire/per-connection.js';

test('a fact of a connection is read once for each connection, also one that it does not have', () => {
  const reads: string[] = [];
  const factOf = perConnection(({ name, fact }: { name: string; fact: string | undefined }) => {
    reads.push(name);
    return fact;
  });
  const [a, b] = [
    { name: 'a', fact: 'x' },
    { name: 'b', fact: undefined },
  ];
  for (let i = 0; i < 3; i++) assert.deepEqual([factOf(a), factOf(b)], ['x', undefined]);
  assert.deepEqual(reads, ['a', 'b']);
});
