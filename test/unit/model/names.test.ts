import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configKey, CONFIGS, versionKey, versionsPrefix } from '../../../src/model/config.js';
import { instanceKey, INSTANCES } from '../../../src/model/instance.js';
import { parseKey } from '../../../src/model/keys.js';
import {
  CONFIG_KEY,
  GROUP,
  INSTANCE_ID,
  NAMESPACE,
  type NameRule,
  refuseName,
  RUN_ID,
  SERVICE,
} from '../../../src/model/names.js';
import { prefixRange, inRange } from '../../../src/store/store.js';
import { Dice } from '../../support/dice.js';

const RULES: Record<string, NameRule> = { NAMESPACE, SERVICE, GROUP, INSTANCE_ID, RUN_ID, CONFIG_KEY };
const NASTY = [
  '',
  '.',
  '..',
  'a/b',
  '../../x',
  '\0',
  'a\nb',
  '\u202eabc',
  'é',
  'e\u0301',
  'A b',
  ' a',
  'a ',
  '💥',
  'a'.repeat(5_000),
  '//',
  'a//b',
  '-',
  '--a--',
  '🙂pay',
  'ＰＡＹ',
  '%2e%2e',
];

/** Keys of Dubbo and Spring, and names in other scripts. */
const KEYS_OF_OTHERS = [
  'com.foo.BarService:1.0::provider',
  'app,dev',
  'user@host+x=y~1',
  '配置.yaml',
  '乍乮.yaml',
  'настройки/приложение.json',
  'हिन्दी',
  'العربية/١٢٣',
  'grüße',
  '한국어',
];

test('the names that people have are taken', () => {
  for (const name of ['com.foo.PayService', 'pay.v1.Pay', 'PAY_SERVICE', 'a', 'a-b', '__proto__x'.slice(2)]) {
    assert.equal(refuseName(SERVICE, name), undefined, name);
  }
  for (const id of ['10.0.0.1:8080', '::1', 'pod-7f9', 'a.b:c_d'])
    assert.equal(refuseName(INSTANCE_ID, id), undefined, id);
  for (const key of ['app.yaml', 'a/b/c.json', '.env', '...', 'a/.b', ...KEYS_OF_OTHERS])
    assert.equal(refuseName(CONFIG_KEY, key), undefined, key);
  assert.equal(refuseName(NAMESPACE, 'team-a'), undefined);
});

test('a refused name is told the rule, and where it can be a name that would do', () => {
  let proposed = 0;
  for (const rule of Object.values(RULES)) {
    for (const name of NASTY) {
      const refusal = refuseName(rule, name);
      if (refusal === undefined) continue;
      assert.match(refusal, /^must be/);
      const proposal = /; "([^"]+)" would do$/.exec(refusal)?.[1];
      if (proposal === undefined) continue;
      proposed++;
      assert.equal(refuseName(rule, proposal), undefined, `${JSON.stringify(name.slice(0, 20))} -> ${proposal}`);
    }
  }
  assert.ok(proposed > 20, 'names were proposed');
  assert.match(refuseName(SERVICE, 'my service!')!, /"my-service" would do/);
  assert.match(refuseName(NAMESPACE, 'Team_A')!, /"team-a" would do/);
  assert.match(refuseName(CONFIG_KEY, '/etc/../app.yaml')!, /"etc\/app.yaml" would do/);
});

test('a key has one spelling, and a proposal keeps its letters, or is left out if nothing is left', () => {
  const proposals: Record<string, string | undefined> = {
    'cafe\u0301.yaml': 'café.yaml',
    'a\u200bb': 'ab',
    '//app//dev/': 'app/dev',
    'my app.yaml': 'my-app.yaml',
    'a/\u0301b': 'a/b',
    '配 置': '配-置',
    ' ': undefined,
    '💥': undefined,
    '../..': undefined,
    '---/..': undefined,
    '\u3164': undefined,
  };
  for (const [key, proposal] of Object.entries(proposals)) {
    const refusal = refuseName(CONFIG_KEY, key);
    assert.ok(refusal, `${JSON.stringify(key)} was taken`);
    assert.equal(/; "([^"]+)" would do$/.exec(refusal)?.[1], proposal, JSON.stringify(key));
  }
});

test('a key has up to 256 characters and 512 bytes, and a proposal is cut to that', () => {
  for (const key of ['я'.repeat(256), '配'.repeat(170), '𠀀'.repeat(128)])
    assert.equal(refuseName(CONFIG_KEY, key), undefined);
  for (const key of ['я'.repeat(257), '配'.repeat(171), '𠀀'.repeat(129), 'a'.repeat(100_000)]) {
    const proposal = /; "([^"]+)" would do$/.exec(refuseName(CONFIG_KEY, key)!)?.[1];
    assert.ok(proposal && key.startsWith(proposal) && proposal.length >= 128, proposal);
  }
});

test('names at the bounds are taken and one more is refused', () => {
  for (const [rule, max] of [
    [NAMESPACE, 63],
    [SERVICE, 128],
    [INSTANCE_ID, 128],
    [RUN_ID, 64],
    [CONFIG_KEY, 256],
  ] as const) {
    assert.equal(refuseName(rule, 'a'.repeat(max)), undefined);
    assert.notEqual(refuseName(rule, 'a'.repeat(max + 1)), undefined);
  }
});

function randomName(dice: Dice, rule: NameRule): string {
  for (;;) {
    const length = 1 + Math.floor(dice.between(0, 6));
    const name = Array.from({ length }, () => dice.pick([...'abAB01._:-/,@配é'])).join('');
    if (rule.pattern.test(name)) return name;
  }
}

test('keys are injective: different names have different keys, and a key gives its names back', () => {
  const dice = new Dice(1);
  const seen = new Map<string, string>();
  for (let i = 0; i < 20_000; i++) {
    const isInstance = dice.chance(0.5);
    const parts = [
      randomName(dice, NAMESPACE),
      randomName(dice, SERVICE),
      randomName(dice, isInstance ? INSTANCE_ID : CONFIG_KEY),
    ] as const;
    const key = isInstance ? instanceKey(...parts) : configKey(...parts);
    const { namespace, scope, name } = parseKey(isInstance ? INSTANCES : CONFIGS, key)!;
    assert.deepEqual([namespace, scope, name], parts);
    const names = JSON.stringify([isInstance, ...parts]);
    assert.equal(seen.get(key) ?? names, names);
    seen.set(key, names);
  }
  assert.ok(seen.size > 1_000);
});

test('namespace "a" never sees namespace "ab", and a config never sees the versions of another', () => {
  const dice = new Dice(2);
  for (let i = 0; i < 5_000; i++) {
    const [one, other] = [randomName(dice, NAMESPACE), randomName(dice, NAMESPACE)];
    const range = prefixRange(`w/i/${one}/`);
    assert.equal(
      inRange(range, instanceKey(other, randomName(dice, SERVICE), randomName(dice, INSTANCE_ID))),
      one === other,
    );
    const [key, otherKey] = [randomName(dice, CONFIG_KEY), randomName(dice, CONFIG_KEY)];
    assert.equal(
      inRange(prefixRange(versionsPrefix('n', 'g', key)), versionKey('n', 'g', otherKey, 7n)),
      key === otherKey,
    );
  }
});

test('versions sort by number', () => {
  assert.ok(versionKey('n', 'g', 'k', 9n) < versionKey('n', 'g', 'k', 10n));
});
