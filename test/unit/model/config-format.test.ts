import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatName, inferFormat } from '../../../src/model/config-format.js';
import { ConfigFormat } from '../../../src/gen/rollcall/v1/config.js';

test('the format follows the suffix, and the content where there is none', () => {
  assert.equal(inferFormat('a/app.YML', false), ConfigFormat.CONFIG_FORMAT_YAML);
  assert.equal(inferFormat('a.json', true), ConfigFormat.CONFIG_FORMAT_JSON);
  assert.equal(inferFormat('blob', true), ConfigFormat.CONFIG_FORMAT_BINARY);
  assert.equal(inferFormat('motd', false), ConfigFormat.CONFIG_FORMAT_TEXT);
});

test('a format has a name for messages', () => {
  assert.equal(formatName(ConfigFormat.CONFIG_FORMAT_PROPERTIES), 'properties');
});
