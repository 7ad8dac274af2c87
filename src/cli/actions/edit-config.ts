import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { CallError } from '../../client/call-error.js';
import { contentOf, draftContent, written } from '../contents.js';
import { CommandFailed, Exit } from '../exits.js';
import { warn } from '../output.js';
import type { Session } from '../session.js';

/** The editor if neither VISUAL nor EDITOR names one. */
const DEFAULT_EDITOR = 'vi';

/** Opens a config in an editor, and publishes it if it has changed. */
export async function editConfig(
  { client, namespace, flags, show, say }: Session<{ group?: string; comment?: string; expectedVersion?: number }>,
  key: string,
): Promise<void> {
  const { group = 'default', comment = '' } = flags;
  const current = await client.config.getConfig({ namespace, group, key }).then(
    ({ config }) => config,
    (error: unknown) => {
      if (error instanceof CallError && error.reason === 'CONFIG_NOT_FOUND') return undefined;
      throw error;
    },
  );
  const version = flags.expectedVersion === undefined ? (current?.version ?? 0n) : BigInt(flags.expectedVersion);
  const before = current ? contentOf(current) : Buffer.alloc(0);
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-edit-')); // for its user alone
  const path = join(folder, basename(key) || 'config');
  writeFileSync(path, before, { mode: 0o600 });
  try {
    for (;;) {
      runEditor(path);
      const after = readFileSync(path);
      if (after.equals(before)) return say('nothing has changed\n');
      const draft = { key, content: draftContent(after), expectedVersion: version, format: current?.format ?? 0 };
      try {
        // A signal to the editor reaches this command, too: it does not cancel the publish.
        const answer = await client.config.publishConfig({ namespace, group, comment, configs: [draft] });
        return await show('config.publishConfig', answer, () => written(answer.configs[0]!, answer.revision));
      } catch (error) {
        if (!(error instanceof CallError) || error.violations.length === 0) throw error;
        warn(`${error.message}`);
        if (!(await wantsToGoOn())) throw new CommandFailed('nothing was published', Exit.USAGE);
      }
    }
  } catch (error) {
    keepText(path, before);
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs the editor, which may have arguments. */
function runEditor(path: string): void {
  const editor = process.env['VISUAL'] || process.env['EDITOR'] || DEFAULT_EDITOR;
  const { status, signal, error } = spawnSync('/bin/sh', ['-c', `${editor} "$1"`, 'sh', path], { stdio: 'inherit' });
  if (error) throw new CommandFailed(`the editor ${JSON.stringify(editor)} cannot be started: ${error.message}`);
  if (status !== 0)
    throw new CommandFailed(
      `the editor ${JSON.stringify(editor)} ended with ${signal ?? status}; nothing was published`,
    );
}

/** Asks whether to edit again. Without a terminal there is no answer. */
async function wantsToGoOn(): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return !/^n/i.test(await reader.question('Edit again? [Y/n] '));
  } finally {
    reader.close();
  }
}

/** Saves a changed text that was not published, and says where. */
function keepText(path: string, before: Buffer): void {
  if (!existsSync(path)) return;
  const content = readFileSync(path);
  if (content.equals(before)) return;
  const other = join(mkdtempSync(join(tmpdir(), 'rollcall-kept-')), basename(path));
  writeFileSync(other, content, { mode: 0o600 });
  warn(`your text is in ${other}`);
}
