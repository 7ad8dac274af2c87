import { existsSync, readFileSync } from 'node:fs';
import { createTwoFilesPatch } from 'diff';
import { styleText } from 'node:util';
import { contentOf, isVersion as isVersionText, versionOf } from '../contents.js';
import { CommandFailed, Exit } from '../exits.js';
import { hasColors } from '../output.js';
import type { Session } from '../session.js';

/** The number that means the current version. */
const CURRENT_VERSION = 0n;
/** Lines around a change that a diff shows. */
const CONTEXT_LINES = 3;

/** Prints the differences between two versions of a config, or between a version and a file. */
export async function diffConfig(
  { client, namespace, flags: { group = 'default' }, signal, format }: Session<{ group?: string }>,
  key: string,
  from: string,
  to: string | undefined,
): Promise<void> {
  const get = async (version: bigint): Promise<{ name: string; text: string }> => {
    const { config } = await client.config.getConfig({ namespace, group, key, version }, { signal });
    return { name: `${group}/${key} v${config!.version}`, text: contentOf(config!).toString('utf8') };
  };
  const before = await get(versionOf(from));
  const isVersion = to === undefined || (isVersionText(to) && !existsSync(to));
  const after = isVersion
    ? await get(to === undefined ? CURRENT_VERSION : versionOf(to))
    : { name: to, text: readFileSync(to, 'utf8') };
  const patch = patchOf(before, after);
  if (patch === '') return;
  process.stdout.write(format === 'table' ? colored(patch) : `${JSON.stringify({ patch })}\n`);
  throw new CommandFailed('', Exit.DIFFERENT);
}

/** A unified diff; empty if the texts are equal. */
export function patchOf(
  before: { readonly name: string; readonly text: string },
  after: { readonly name: string; readonly text: string },
): string {
  if (before.text === after.text) return '';
  const patch = createTwoFilesPatch(before.name, after.name, before.text, after.text, '', '', {
    context: CONTEXT_LINES,
  });
  return patch.replace(/^=+\n/, '');
}

/** A diff in the colors of diffs, on a terminal. */
export function colored(patch: string): string {
  if (!hasColors()) return patch;
  return patch
    .split('\n')
    .map((line) => {
      if (line.startsWith('+')) return styleText('green', line);
      if (line.startsWith('-')) return styleText('red', line);
      return line.startsWith('@@') ? styleText('cyan', line) : line;
    })
    .join('\n');
}
