// Writes docs/reference/settings.md and docs/reference/settings.schema.json from the table of settings.
import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { SETTINGS } from '../src/settings/settings.js';

const DOC = new URL('../docs/reference/settings.md', import.meta.url);
const SCHEMA = new URL('../docs/reference/settings.schema.json', import.meta.url);
/** The generated table follows this line. */
const MARK = '<!-- Everything below is written by npm run docs. -->';

const variableOf = (name: string): string => `ROLLCALL_${name.toUpperCase().replaceAll('-', '_')}`;
const code = (text: string): string => (text === '' ? '' : `\`${text.replaceAll('|', '\\|')}\``);

/** The whole text of settings.md: the part above the mark is written by hand. */
export async function settingsDoc(): Promise<string> {
  const [above] = readFileSync(DOC, 'utf8').split(MARK);
  const rows = Object.entries(SETTINGS).map(([name, row]) => {
    const flag = code(`--${name}${row.value ? ` ${row.value}` : ''}`);
    const reload = row.reload === 'hot' ? 'yes' : 'no';
    return `| ${flag} | ${code(variableOf(name))} | ${code(row.default ?? '')} | ${reload} | ${row.help} |`;
  });
  const table = ['| Flag | Variable | Default | Reload | Meaning |', '| --- | --- | --- | --- | --- |', ...rows];
  const text = `${above!.trimEnd()}\n\n${MARK}\n\n## Every setting\n\n${table.join('\n')}\n`;
  return format(text, { ...(await resolveConfig(DOC)), parser: 'markdown' });
}

/** The JSON Schema of a settings file. */
export async function settingsSchema(): Promise<string> {
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
  return format(JSON.stringify(schema), { ...(await resolveConfig(SCHEMA)), parser: 'json' });
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(DOC, await settingsDoc());
  writeFileSync(SCHEMA, await settingsSchema());
}
