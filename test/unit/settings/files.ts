import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BadSettings, readSettings } from '../../../src/settings/settings.js';

const folder = mkdtempSync(join(tmpdir(), 'rollcall-settings-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Writes a file, and returns its path. */
export function fileWith(name: string, text: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Files that settings can name. */
export const FILES = {
  ca: fileWith('ca.pem', 'ca'),
  cert: fileWith('cert.pem', 'cert'),
  key: fileWith('key.pem', 'key'),
  password: fileWith('password', 'a secret\n'),
  missing: join(folder, 'missing'),
};

/** The errors of reading settings, one each. Empty if they can be used. */
export function errorsOf(args: readonly string[], env: Readonly<Record<string, string>> = {}): readonly string[] {
  try {
    readSettings(args, env);
    return [];
  } catch (error) {
    if (!(error instanceof BadSettings)) throw error;
    return error.message.split('\n');
  }
}
