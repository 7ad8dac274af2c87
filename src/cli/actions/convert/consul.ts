import { readFileSync } from 'node:fs';
import { CommandFailed, Exit } from '../../exits.js';
import type { Conversion, Found } from './found.js';

/** The group of configs from systems that have none. */
const GROUP = 'default';

/** An entry of `consul kv export`. */
interface ConsulEntry {
  readonly key: string;
  readonly flags?: number;
  readonly value: string;
}

/** Reads what `consul kv export` wrote: keys become keys, and flags a label. */
export function fromConsul(file: string): Conversion {
  const found: Found[] = [];
  const report: string[] = [];
  for (const [i, entry] of entriesOf(file).entries()) {
    if (!isEntry(entry)) {
      report.push(`entry ${i + 1}: has no key and value in base64; left out`);
      continue;
    }
    const { key, value } = entry;
    const flags = Number(entry.flags ?? 0);
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

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const isEntry = (one: unknown): one is ConsulEntry => {
  const { key, value } = (one ?? {}) as Partial<ConsulEntry>;
  return typeof key === 'string' && typeof value === 'string' && value.length % 4 === 0 && BASE64.test(value);
};

function entriesOf(file: string): unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new CommandFailed(`${file}: cannot be read (${(error as Error).message})`, Exit.USAGE);
  }
  if (!Array.isArray(value))
    throw new CommandFailed(
      `${file}: is not what "consul kv export" writes: a list of entries with key and value`,
      Exit.USAGE,
    );
  return value;
}
