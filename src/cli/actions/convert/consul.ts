import { readFileSync } from 'node:fs';
import { CommandFailed, Exit } from '../../exits.js';
import type { Conversion, Found } from './found.js';

/** The group of configs from systems that have none. */
const GROUP = 'default';

/** An entry of `consul kv export`. */
interface ConsulEntry {
  readonly key: string;
  readonly flags: number;
  readonly value: string;
}

/** Reads what `consul kv export` wrote: keys become keys, and flags a label. */
export function fromConsul(file: string): Conversion {
  const found: Found[] = [];
  const report: string[] = [];
  for (const { key, flags, value } of entriesOf(file)) {
    const content = Buffer.from(value, 'base64');
    if (key.endsWith('/') && content.length === 0) {
      report.push(`${key}: a folder without a value; there are no folders`);
      continue;
    }
    if (flags !== 0) report.push(`${key}: its flags ${flags} are in the label consul-flags`);
    found.push({ group: GROUP, key, content, ...(flags !== 0 && { labels: { 'consul-flags': String(flags) } }) });
  }
  return { found, report };
}

function entriesOf(file: string): ConsulEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new CommandFailed(`${file}: cannot be read (${(error as Error).message})`, Exit.USAGE);
  }
  const isEntry = (one: unknown): one is ConsulEntry =>
    typeof (one as ConsulEntry | null)?.key === 'string' && typeof (one as ConsulEntry).value === 'string';
  if (!Array.isArray(value) || !value.every(isEntry))
    throw new CommandFailed(
      `${file}: is not what "consul kv export" writes: a list of entries with key and value`,
      Exit.USAGE,
    );
  return value.map((one: ConsulEntry) => ({ ...one, flags: Number(one.flags ?? 0) }));
}
