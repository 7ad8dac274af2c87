import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareKeys, inRange, prefixRange } from '../../../src/store/store.js';
import { Dice } from '../../support/dice.js';

/** Characters of one to four bytes, and the borders between them. */
const CHARACTERS = [
  'a',
  'b',
  '/',
  '\x7f',
  '\x80',
  'é',
  '\u07ff',
  '\u0800',
  '配',
  '\ud7ff',
  '\ue000',
  '\uffff',
  '😀',
  '𐀀',
];

function randomKey(dice: Dice): string {
  return Array.from({ length: Math.floor(dice.between(0, 5)) }, () => dice.pick(CHARACTERS)).join('');
}

test('S13: keys are compared by their UTF-8 bytes', () => {
  const dice = new Dice(1);
  for (let round = 0; round < 20_000; round++) {
    const a = randomKey(dice);
    const b = randomKey(dice);
    const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
    assert.equal(Math.sign(compareKeys(a, b)), expected, JSON.stringify([a, b]));
  }
});

test('S13: the range of a prefix holds exactly the keys that begin with it', () => {
  const dice = new Dice(2);
  for (let round = 0; round < 20_000; round++) {
    const prefix = `${randomKey(dice)}/`;
    const key = dice.chance(0.3) ? prefix + randomKey(dice) : randomKey(dice);
    assert.equal(inRange(prefixRange(prefix), key), key.startsWith(prefix), JSON.stringify([prefix, key]));
  }
});

test('a prefix that does not end with an ASCII character is refused', () => {
  for (const prefix of ['', 'w/c/配', 'w/c/😀', 'w/c/\x7f']) assert.throws(() => prefixRange(prefix), /ASCII/);
});
