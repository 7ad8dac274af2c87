import type { ReadSettings } from './settings.js';
import { ROWS, type SettingName } from './table.js';

/** The names of all settings, in the order of the help. */
const NAMES = Object.keys(ROWS) as SettingName[];

/** A text that YAML reads as itself, and not as no value. */
const PLAIN = /^(?!null$)[\w./+][\w./:@+,-]*(?<!:)$/i;

/**
 * Every setting with its value and its source, as text that is a settings file itself. A setting that is unset is a comment,
 * and so is a secret one, whose value is not shown.
 */
export function listSettings({ texts, origins }: Pick<ReadSettings, 'texts' | 'origins'>): string {
  return NAMES.map((name) => {
    const text = texts[name];
    const origin = origins[name];
    const source = origin === undefined ? 'not set' : origin.source === 'default' ? 'default' : origin.place;
    if (name === 'settings') return text === '' ? '' : `# from ${text}\n`;
    if (text === '') return `# ${name}:  # not set\n`;
    if ('secret' in ROWS[name]) return `# ${name}: (secret)  # ${source}\n`;
    return `${name}: ${PLAIN.test(text) ? text : JSON.stringify(text)}  # ${source}\n`;
  }).join('');
}

/** The settings whose text differs, of those that a running server can take over or of those that it cannot. */
export function changedSettings(
  before: Pick<ReadSettings, 'texts'>,
  after: Pick<ReadSettings, 'texts'>,
  reload: 'hot' | 'restart',
): SettingName[] {
  return NAMES.filter((name) => ROWS[name].reload === reload && before.texts[name] !== after.texts[name]);
}
