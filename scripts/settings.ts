// Writes docs/reference/settings.md and docs/reference/settings.schema.json from the table of settings.
import { writeFileSync } from 'node:fs';
import { SETTINGS } from '../src/settings/settings.js';
import { variableOf } from '../src/settings/sources.js';
import { formatted, isProgram, referencePage, table } from './reference.js';

const DOC = new URL('../docs/reference/settings.md', import.meta.url);
const SCHEMA = new URL('../docs/reference/settings.schema.json', import.meta.url);

const code = (text: string): string => (text === '' ? '' : `\`${text.replaceAll('|', '\\|')}\``);

/** The whole text of settings.md. */
export function settingsDoc(): Promise<string> {
  const rows = Object.entries(SETTINGS).map(([name, row]) => [
    code(`--${name}${row.value ? ` ${row.value}` : ''}`),
    code(variableOf(name)),
    code(row.default ?? ''),
    row.reload === 'hot' ? 'yes' : 'no',
    row.help,
  ]);
  return referencePage(DOC, [
    `## Every setting\n\n${table(['Flag', 'Variable', 'Default', 'Reload', 'Meaning'], rows)}`,
  ]);
}

/** The JSON Schema of a settings file. */
export function settingsSchema(): Promise<string> {
  const inFile = Object.entries(SETTINGS).filter(([name]) => name !== 'settings');
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Settings of Rollcall',
    type: ['object', 'null'],
    additionalProperties: false,
    properties: Object.fromEntries(
      inFile.map(([name, { help, default: text, parse }]) => [
        name,
        { description: text ? `${help} Default: ${text}.` : help, ...(parse.schema ?? { type: 'string' }) },
      ]),
    ),
  };
  return formatted(SCHEMA, 'json', JSON.stringify(schema));
}

if (isProgram(import.meta.url)) {
  writeFileSync(DOC, await settingsDoc());
  writeFileSync(SCHEMA, await settingsSchema());
}
