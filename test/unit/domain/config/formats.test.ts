import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findSyntaxFault, inferFormat } from '../../../../src/domain/config/formats.js';
import { ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';

const { CONFIG_FORMAT_JSON: JSON_, CONFIG_FORMAT_YAML: YAML, CONFIG_FORMAT_TOML: TOML } = ConfigFormat;

test('what parses is taken', () => {
  assert.equal(findSyntaxFault(JSON_, '{"a":[1,2,{"b":null}]}'), undefined);
  assert.equal(findSyntaxFault(YAML, 'a: 1\nb:\n  - x\n---\nc: 2\n'), undefined);
  assert.equal(findSyntaxFault(YAML, ''), undefined);
  assert.equal(findSyntaxFault(TOML, '[a]\nb = 1\n'), undefined);
  assert.equal(findSyntaxFault(ConfigFormat.CONFIG_FORMAT_PROPERTIES, '{{{'), undefined);
});

test('what does not parse is told with line and column', () => {
  const at = (format: ConfigFormat, text: string): string => {
    const fault = findSyntaxFault(format, text);
    assert.ok(fault, text);
    assert.ok(fault.message.length > 3);
    return `${fault.line}:${fault.column}`;
  };
  assert.equal(at(JSON_, '{\n  "a": 1,\n}'), '3:1');
  assert.equal(at(JSON_, '// no comments\n{}'), '1:1');
  assert.equal(at(JSON_, ''), '1:1');
  assert.equal(at(JSON_, '{"a": 01}').split(':')[0], '1');
  assert.equal(at(YAML, 'a: 1\nb: [1, 2\nc: 3\n').split(':')[0], '3');
  assert.equal(at(YAML, 'a: 1\na: 2\n').split(':')[0], '2');
  assert.equal(at(TOML, 'a = 1\nb = = 2\n').split(':')[0], '2');
});

test('a YAML file of nested aliases is parsed without being expanded', () => {
  const lines = ['a0: &a0 [x, x]'];
  for (let i = 1; i < 30; i++) lines.push(`a${i}: &a${i} [*a${i - 1}, *a${i - 1}, *a${i - 1}]`);
  assert.equal(findSyntaxFault(YAML, lines.join('\n')), undefined);
});

test('deep nesting is refused, and does not end the process', () => {
  for (const level of ['[', '{a: ', '- ', '? ', 'a: ', '[[', '{[']) {
    assert.match(findSyntaxFault(YAML, level.repeat(100_000))!.message, /^is nested deeper than 100$/, level);
  }
  assert.equal(findSyntaxFault(YAML, '[ '.repeat(90) + ']'.repeat(90)), undefined);
  assert.ok(findSyntaxFault(JSON_, '['.repeat(500_000)));
  assert.equal(findSyntaxFault(JSON_, '['.repeat(250_000) + ']'.repeat(250_000)), undefined);
  assert.ok(findSyntaxFault(TOML, `a = ${'['.repeat(500_000)}`));
});

test('the largest YAML is parsed in seconds, whatever it holds', () => {
  const lines = (line: (i: number) => string): string => Array.from({ length: 40_000 }, (_, i) => line(i)).join('\n');
  const from = performance.now();
  assert.equal(
    findSyntaxFault(
      YAML,
      lines((i) => `k${i}: v`),
    ),
    undefined,
  );
  assert.equal(findSyntaxFault(YAML, `{${lines((i) => `k${i}: v,`)}}`), undefined);
  assert.match(
    findSyntaxFault(
      YAML,
      lines(() => 'k: v'),
    )!.message,
    /unique/,
  );
  assert.match(findSyntaxFault(YAML, '!a '.repeat(170_000))!.message, /tag/);
  assert.ok(performance.now() - from < 15_000, `${performance.now() - from} ms`);
});

test('YAML that is wrong before its first document is told', () => {
  assert.match(findSyntaxFault(YAML, '%YAML one\n')!.message, /version one/);
});

test('the format follows the suffix, and the content where there is none', () => {
  assert.equal(inferFormat('a/app.YML', false), YAML);
  assert.equal(inferFormat('a.json', true), JSON_);
  assert.equal(inferFormat('blob', true), ConfigFormat.CONFIG_FORMAT_BINARY);
  assert.equal(inferFormat('motd', false), ConfigFormat.CONFIG_FORMAT_TEXT);
});
