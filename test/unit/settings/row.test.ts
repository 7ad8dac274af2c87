import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anyText, oneOf, wholeNumber } from '../../../src/settings/parse.js';
import { readRows, type Source, type Table } from '../../../src/settings/row.js';
import { defaults, flags, variables } from '../../../src/settings/sources.js';

const TABLE = {
  size: { value: 'SIZE', default: '3', help: '', parse: wholeNumber(1, 10), reload: 'hot' },
  color: { value: 'COLOR', help: '', parse: oneOf(['red', 'blue']), reload: 'restart' },
  token: { value: 'TOKEN', help: '', parse: oneOf(['open sesame']), secret: true, reload: 'hot' },
  quiet: { help: '', parse: anyText, reload: 'hot' },
} as const satisfies Table;

/** A source as a file would be one: it gives settings at its own places. */
const file = (texts: Readonly<Record<string, string>>, ...errors: string[]): Source => ({
  name: 'file',
  find: (setting) =>
    texts[setting] === undefined ? undefined : { text: texts[setting], place: `settings.yaml, ${setting}` },
  errors,
  warnings: [],
});

test('the first source in the list that gives a setting wins, and a new kind of source needs no new code', () => {
  const sources = [
    flags(TABLE, ['--size', '4']),
    variables(TABLE, { ROLLCALL_SIZE: '5', ROLLCALL_COLOR: 'red' }),
    file({ size: '6', color: 'blue', token: 'open sesame' }),
    defaults(TABLE),
  ];
  const { values, origins, changed, errors } = readRows(TABLE, sources);
  assert.deepEqual(values, { size: 4, color: 'red', token: 'open sesame', quiet: undefined });
  assert.deepEqual(origins, {
    size: { source: 'flag', place: '--size' },
    color: { source: 'variable', place: 'ROLLCALL_COLOR' },
    token: { source: 'file', place: 'settings.yaml, token' },
  });
  assert.deepEqual([...changed], ['size', 'color', 'token']);
  assert.deepEqual(errors, []);
});

test('the type of a value follows from its parser, and only a setting without a default may be unset', () => {
  const { values } = readRows(TABLE, [defaults(TABLE)]);
  const { size, color }: { size?: number; color?: 'red' | 'blue' | undefined } = values;
  assert.deepEqual([size, color], [3, undefined]);
});

test('errors of a source and of its settings are reported together, with the place that the source names', () => {
  const { values, errors } = readRows(TABLE, [
    file({ size: '11', color: 'green' }, 'settings.yaml: line 3'),
    defaults(TABLE),
  ]);
  assert.deepEqual(errors, [
    'settings.yaml: line 3',
    'settings.yaml, size: must be a whole number from 1 to 10, but is "11"',
    'settings.yaml, color: must be red or blue, but is "green"',
  ]);
  assert.deepEqual(values, { token: undefined, quiet: undefined });
});

test('the value of a secret setting is not in the error', () => {
  for (const source of [
    flags(TABLE, ['--token', 'hunter2']),
    flags(TABLE, ['--token=hunter2']),
    flags(TABLE, ['--token', '-hunter2']),
    flags(TABLE, ['--tokne', 'hunter2']),
    flags(TABLE, ['--tokne=hunter2']),
    flags(TABLE, ['-hunter2']),
    flags(TABLE, ['--quiet=hunter2']),
    variables(TABLE, { ROLLCALL_TOKEN: 'hunter2' }),
    file({ token: 'hunter2' }),
  ]) {
    const { errors } = readRows(TABLE, [source, defaults(TABLE)]);
    assert.equal(errors.length, 1);
    assert.doesNotMatch(errors[0]!, /unter2/);
  }
});

test('a value that is not a flag, an unknown flag and a missing value are refused', () => {
  const errorsOf = (...args: string[]): readonly string[] => flags(TABLE, args).errors;
  assert.deepEqual(errorsOf('serve', '--size', '1'), ['"serve": is not a flag']);
  assert.deepEqual(errorsOf('--siez', '1', '--toString', '-q', '--size'), [
    '--siez: is not a setting; did you mean --size?',
    '--toString: is not a setting',
    '-q: is not a setting',
    '--size: needs a value; a value that begins with "-" is written --size=VALUE',
  ]);
  assert.match(errorsOf('--size', '--quiet')[0]!, /--size: needs a value/);
  assert.deepEqual(errorsOf('--quiet=true'), ['--quiet: takes no value']);
  assert.deepEqual(errorsOf('--size=-1', '--quiet', '--size', '2'), []);
});

test('of a flag that is given twice the last counts', () => {
  assert.equal(flags(TABLE, ['--size', '1', '--size=2']).find('size')?.text, '2');
});

test('an error that is not about the rule of a setting is not swallowed', () => {
  const bug = () => {
    throw new TypeError('a bug');
  };
  assert.throws(
    () => readRows({ a: { value: 'A', default: '1', help: '', parse: bug, reload: 'hot' } }, [file({ a: '1' })]),
    TypeError,
  );
});
