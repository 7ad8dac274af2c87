import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { inspect } from '../../../../src/domain/config/inspect.js';
import { ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';

interface Text {
  readonly name: string;
  readonly text: string;
  readonly verdicts: Readonly<Record<string, boolean>>;
}

/** Texts on which the readers disagree and the check is not with those that the rule prefers, by reason. */
type Exceptions = Readonly<Record<string, readonly string[]>>;

const YAML_EXCEPTIONS: Exceptions = {
  'two readers refuse for two unrelated reasons': ['job-date-more-key-two-in-quotes', 'pod-flow-question-mark-alone'],
  'a map that takes over itself, or an ordered map in itself': [
    'limits-key-merge-more-alias-itself-deeper',
    'limits-key-recursive-omap',
  ],
  'the minor version of YAML does not fit in 32 bits': ['limits-directive-yaml-big'],
  'the same bytes are two keys for one reader and invalid for another': ['limits-key-twice-binary'],
};

/** tomllib follows TOML 1.0, but for these. */
const TOML_EXCEPTIONS: Exceptions = {
  'TOML has no bound on the depth': [
    'depth-inline-tables-500',
    'depth-inline-tables-1000',
    'depth-lists-500',
    'depth-lists-1000',
  ],
  'TOML has a year 0': [
    'limits-date-year-zero',
    'limits-date-more-year-zero-full',
    'limits-date-more-year-zero-leap-day',
  ],
  'TOML integers have 64 bits': [
    'limits-integer-beyond-max-64',
    'limits-integer-beyond-min-64',
    'limits-integer-binary-64-ones',
    'limits-integer-digits-400',
    'limits-integer-hex-all-64-bits',
    'limits-integer-hex-beyond-64',
    'limits-integer-hex-beyond-all-64-bits',
    'limits-more-integer-beyond-in-list',
    'limits-more-integer-beyond-plus',
    'limits-more-integer-beyond-with-underscores',
    'limits-more-integer-binary-65-bits',
    'limits-more-integer-digits-19-nines',
    'limits-more-integer-digits-4300',
    'limits-more-integer-octal-beyond-64',
  ],
};

const majority = (verdicts: Text['verdicts']): boolean => {
  const all = Object.values(verdicts);
  return all.filter(Boolean).length * 2 > all.length;
};

/** Compares the check with the readers. `prefer` returns the verdict that the check must have if they disagree. */
function compare(
  format: ConfigFormat,
  file: string,
  prefer: (verdicts: Text['verdicts']) => boolean,
  exceptions: Exceptions = {},
): void {
  const texts = JSON.parse(
    readFileSync(new URL(`../../../corpus/${file}.json`, import.meta.url), 'utf8'),
  ) as readonly Text[];
  const excepted = new Set(Object.values(exceptions).flat());
  const wrong: string[] = [];
  for (const { name, text, verdicts } of texts) {
    const isUnanimous = new Set(Object.values(verdicts)).size === 1;
    if (isUnanimous) assert.ok(!excepted.has(name), `${name}: all readers agree, so it is no exception`);
    const { fault } = inspect(format, text);
    const expected = prefer(verdicts) !== excepted.has(name);
    if (expected === !fault) continue;
    const found = fault ? `refused at ${fault.line}:${fault.column}: ${fault.message}` : 'taken';
    wrong.push(`${name}: expected ${expected ? 'taken' : 'refused'} by ${JSON.stringify(verdicts)}; ${found}`);
  }
  assert.deepEqual(wrong, []);
}

test('the check of YAML agrees with the readers, or with two of the three', () => {
  compare(ConfigFormat.CONFIG_FORMAT_YAML, 'yaml', majority, YAML_EXCEPTIONS);
});

test('the check of JSON agrees with the readers, or with two of the three', () => {
  compare(ConfigFormat.CONFIG_FORMAT_JSON, 'json', majority);
});

test('the check of TOML agrees with the readers, or with TOML 1.0', () => {
  compare(ConfigFormat.CONFIG_FORMAT_TOML, 'toml', ({ tomllib }) => tomllib!, TOML_EXCEPTIONS);
});

test('the check of .properties agrees with Java', () => {
  compare(ConfigFormat.CONFIG_FORMAT_PROPERTIES, 'properties', ({ java }) => java!);
});

test('every fault of the corpus has a place in its text', () => {
  for (const [file, format] of [
    ['yaml', ConfigFormat.CONFIG_FORMAT_YAML],
    ['json', ConfigFormat.CONFIG_FORMAT_JSON],
    ['toml', ConfigFormat.CONFIG_FORMAT_TOML],
    ['properties', ConfigFormat.CONFIG_FORMAT_PROPERTIES],
  ] as const) {
    const path = new URL(`../../../corpus/${file}.json`, import.meta.url);
    for (const { name, text } of JSON.parse(readFileSync(path, 'utf8')) as readonly Text[]) {
      const { fault } = inspect(format, text);
      if (!fault) continue;
      // A parser can find the end of the text behind a last line that has no end.
      const lines = `${text}\n`.split(/\r\n?|\n/);
      assert.ok(fault.line >= 1 && fault.line <= lines.length, `${name}: line ${fault.line}`);
      assert.ok(
        fault.column >= 1 && fault.column <= lines[fault.line - 1]!.length + 1,
        `${name}: column ${fault.column}`,
      );
    }
  }
});
