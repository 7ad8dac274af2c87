import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasSyntax, inspect } from '../../../../src/domain/config/inspect.js';
import { ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';

const {
  CONFIG_FORMAT_JSON: JSON_,
  CONFIG_FORMAT_YAML: YAML,
  CONFIG_FORMAT_TOML: TOML,
  CONFIG_FORMAT_PROPERTIES: PROPERTIES,
} = ConfigFormat;

const faultOf = (format: ConfigFormat, text: string): string | undefined => {
  const { fault } = inspect(format, text);
  return fault && `${fault.line}:${fault.column} ${fault.message}`;
};
const placeOf = (format: ConfigFormat, text: string): string | undefined => faultOf(format, text)?.split(' ')[0];
const lines = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n');

test('four formats have a syntax', () => {
  const formats = Object.values(ConfigFormat).filter((format) => typeof format === 'number');
  assert.deepEqual(formats.filter(hasSyntax), [JSON_, YAML, TOML, PROPERTIES]);
  for (const format of [ConfigFormat.CONFIG_FORMAT_TEXT, ConfigFormat.CONFIG_FORMAT_BINARY])
    assert.deepEqual(inspect(format, '{{{\0'), { fault: undefined, warnings: [] });
});

test('a fault has its line and column: JSON', () => {
  assert.equal(placeOf(JSON_, '{\n  "a": 1,\n}'), '3:1');
  assert.equal(placeOf(JSON_, '{\r\n  "a": 1,\r\n}'), '3:1');
  assert.equal(placeOf(JSON_, '// no comments\n{}'), '1:1');
  assert.equal(placeOf(JSON_, ''), '1:1');
  assert.equal(placeOf(JSON_, `[\n ${'1'.repeat(4301)}]`), '2:2');
  assert.equal(placeOf(JSON_, '['.repeat(10_001) + ']'.repeat(10_001)), '1:10001');
});

test('a fault has its line and column: YAML', () => {
  const cases: readonly (readonly [text: string, fault: string])[] = [
    ['a: 1\nb:\n  - x\n  a: 1\n', '4:3'],
    ['a: 1\nb: 2\na: 3\n', '3:1'],
    ['a: 1\n---\nb:\tc\n', '3:3'],
    ['a: 1\n...\nb: 2\n', '3:1'],
    ['--- - a\n', '1:5'],
    ['a: "\\/"\n', '1:5'],
    ['a: x\x07\n', '1:5'],
    ['a: &é 1\n', '1:4'],
    ['a:\n  b: !Ref c\n', '2:6'],
    ['a:\n  <<: 1\n', '2:3'],
    ['{a: [b, {[c]: d}]}\n', '1:10'],
    // A space is inserted behind the alias before the text is parsed.
    ['k: &k a\n*k: 1\nb: 1\nb: 2\n', '4:1'],
    ['k: &k a\n*k: [\n', '3:1'],
    [`${'k'.repeat(1025)}: 1\n`, '1:1'],
  ];
  for (const [text, place] of cases) assert.equal(placeOf(YAML, text), place, JSON.stringify(text));
});

test('a fault says what to do where the parser only says where it stopped', () => {
  const cases: readonly (readonly [format: ConfigFormat, text: string, fault: string])[] = [
    [YAML, 'a: @x\n', '1:4 a text that begins with "@" needs quotes'],
    [YAML, 'a: [1, `x]\n', '1:8 a text that begins with "`" needs quotes'],
    [YAML, 'a: 1\nb: %x\n', '2:4 a text that begins with "%" needs quotes'],
    [YAML, '@a: 1\n', '1:1 a text that begins with "@" needs quotes'],
    [YAML, 'foo:  *bar\n', '1:7 the alias *bar has no anchor before it'],
    [YAML, 'a: 1\n---\nb: *c\n', '3:4 the alias *c has no anchor before it'],
    [YAML, '%YAML 2.0\n---\na: 1\n', '1:1 the version of YAML must be 1.1 or 1.2'],
    [YAML, '['.repeat(310) + ']'.repeat(310), '1:302 is nested deeper than 300'],
    [JSON_, '\uFEFF{}', '1:1 a byte order mark is not JSON'],
    [TOML, `a = ${'['.repeat(1_001)}${']'.repeat(1_001)}`, '1:1005 is nested deeper than 1000'],
  ];
  for (const [format, text, fault] of cases) assert.equal(faultOf(format, text), fault, JSON.stringify(text));
});

test('a fault has its line and column: TOML', () => {
  const cases: readonly (readonly [text: string, fault: string])[] = [
    ['a = 1\nb = = 2\n', '2:5'],
    ['a = 2023-02-29\n', '1:5'],
    ['a = 2024-02-29\nb = [1,\n  2024-02-30]\n', '3:3'],
    ['a = 10:00\n', '1:5'],
    ['a = [1, 9223372036854775808]\n', '1:9'],
    ['a = {b = 1,}\n', '1:12'],
    ['a = {b = 1,\n c = 2}\n', '1:12'],
    ['a = "\\e"\n', '1:6'],
    ['\uFEFFa = 1\n', '1:1'],
  ];
  for (const [text, place] of cases) assert.equal(placeOf(TOML, text), place, JSON.stringify(text));
});

test('TOML keys and names that look like values are taken', () => {
  for (const text of ['2023-02-29 = 1\n', '[2023-02-29]\na = "2023-02-29" # 2023-02-29\n', 'a = {2023-02-29 = 1}'])
    assert.equal(faultOf(TOML, text), undefined, text);
  assert.equal(faultOf(TOML, 'a = -9223372036854775808\nb = 0x7fff_ffff_ffff_ffff\nc = [{d = 1}, {}]\n'), undefined);
});

test('a fault has its line and column: .properties', () => {
  assert.equal(placeOf(PROPERTIES, 'a=1\nb = x\\u12\n'), '2:6');
  assert.equal(placeOf(PROPERTIES, 'a=1\\\n   \\u00\\\n  4\n'), '2:4');
  assert.equal(faultOf(PROPERTIES, 'a=\\u00\\\n  41\n# \\u1\nb=\\\\u1\n'), undefined);
});

test('keys that are used again in JSON and .properties are reported', () => {
  assert.deepEqual(inspect(JSON_, '{"a": 1,\n "b": {"a": 1}, "\\u0061": 2}').warnings, [
    'The key "a" is used again at line 2, column 17.',
  ]);
  assert.deepEqual(inspect(PROPERTIES, 'a b=1\n  a\\ b = 2\n# a b\n\\u0061: 3\n').warnings, [
    'The key "a" is used again at line 4, column 1.',
  ]);
  assert.deepEqual(inspect(PROPERTIES, '\uFEFFa=1\na=2\n').warnings, [
    'A byte order mark becomes a part of the first key at line 1, column 1.',
  ]);
});

test('at most 10 warnings are listed', () => {
  const { warnings } = inspect(JSON_, `{${lines(20, () => '"a": 1,')}"a": 1}`);
  assert.equal(warnings.length, 11);
  assert.equal(warnings.at(-1), 'and 10 more');
});

test('the same text as a string and as a number are two keys in YAML', () => {
  assert.equal(faultOf(YAML, '1: a\n"1": b\n1.0: c\n!!str 1.0: d\n'), undefined);
  assert.equal(placeOf(YAML, '"a": 1\na: 2\n'), '2:1');
});

test('YAML aliases are not expanded, and refused if they multiply their values', () => {
  const nested = (levels: number): string =>
    lines(levels, (i) => (i === 0 ? 'a0: &a0 [x, x]' : `a${i}: &a${i} [${`*a${i - 1}, `.repeat(9)}]`));
  assert.equal(faultOf(YAML, nested(5)), undefined);
  assert.match(faultOf(YAML, nested(10))!, /aliases/);
  assert.match(faultOf(YAML, nested(5_000))!, /aliases/);
  assert.equal(faultOf(YAML, `a: &a {b: 1}\nl:\n${lines(50_000, () => '- *a')}\n`), undefined);
});

test('deep nesting is refused, and does not end the process', () => {
  for (const level of ['[', '{a: ', '- ', '? ', '[[', '{[', '[a: ', '- ? '])
    assert.match(faultOf(YAML, level.repeat(100_000))!, /is nested deeper than 300$/, level);
  assert.equal(faultOf(YAML, '[ '.repeat(300) + ']'.repeat(300)), undefined);
  assert.equal(faultOf(JSON_, '['.repeat(10_000) + ']'.repeat(10_000)), undefined);
  for (const text of ['['.repeat(500_000), '['.repeat(250_000) + ']'.repeat(250_000)]) assert.ok(faultOf(JSON_, text));
  for (const level of ['[', '{a=']) assert.ok(faultOf(TOML, `a = ${level.repeat(150_000)}`));
});

test('the largest text is checked in seconds, whatever it holds', () => {
  const large: readonly (readonly [format: ConfigFormat, text: string, isValid: boolean])[] = [
    [YAML, lines(40_000, (i) => `k${i}: v`), true],
    [YAML, `{${lines(40_000, (i) => `k${i}: v,`)}}`, true],
    [YAML, lines(40_000, () => 'k: v'), false],
    [YAML, `a: "${'x'.repeat(500_000)}"`, true],
    [YAML, `a: ${' '.repeat(500_000)}\tb`, false],
    [YAML, '#\n'.repeat(250_000), true],
    [YAML, '---\n'.repeat(125_000), true],
    [YAML, '%a b\n'.repeat(100_000), false],
    [YAML, '!a '.repeat(170_000), false],
    [YAML, `a: !!float ${'1_'.repeat(250_000)}x`, false],
    [YAML, `a: &a b\nl:\n${'- *a: 1\n'.repeat(40_000)}`, true],
    [TOML, `a = """${'x"'.repeat(250_000)}x"""`, true],
    [TOML, `[p.q.r]\na=1\n[p]\nq.b=1\nx = ${'"a\\'.repeat(150_000)}`, false],
    [TOML, `a = ${'9'.repeat(500_000)}`, false],
    [TOML, lines(10_000, (i) => `[p${i}.q.r]`) + lines(10_000, (i) => `\n[p${i}]\nq.b=1`), false],
    [PROPERTIES, `a=${'\\'.repeat(500_000)}`, true],
    [PROPERTIES, 'a=\\\n'.repeat(100_000), true],
  ];
  for (const [format, text, isValid] of large) {
    const from = performance.now();
    assert.equal(faultOf(format, text) === undefined, isValid, text.slice(0, 50));
    assert.ok(performance.now() - from < 5_000, `${text.slice(0, 50)}: ${performance.now() - from} ms`);
  }
});
