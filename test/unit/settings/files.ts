import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authority } from '../../../src/tls/authority.js';
import { BadSettings, readSettings } from '../../../src/settings/settings.js';

const folder = mkdtempSync(join(tmpdir(), 'rollcall-settings-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Writes a file, and returns its path. */
export function fileWith(name: string, text: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const DAY_MS = 24 * 3_600_000;
const authority = await Authority.create('settings', DAY_MS);
const pair = await authority.issue({ name: 'settings', validMs: DAY_MS });
const forServers = await authority.issue({ name: 'for servers', usages: ['server'], validMs: DAY_MS });

/** Files that settings can name. */
export const FILES = {
  ca: fileWith('ca.pem', authority.pair.cert),
  cert: fileWith('cert.pem', pair.cert),
  key: fileWith('key.pem', pair.key),
  /** A pair that a client may not show. */
  serverCert: fileWith('server-cert.pem', forServers.cert),
  serverKey: fileWith('server-key.pem', forServers.key),
  crl: fileWith('crl.pem', await authority.revoke()),
  garbage: fileWith('garbage.pem', 'no PEM'),
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
