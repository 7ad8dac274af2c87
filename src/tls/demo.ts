import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { Authority } from './authority.js';

/** How long the certificates of a demo are valid: long enough to try out, too short to be forgotten in use. */
const VALID_MS = 30 * 24 * 3_600_000;

/** A name of a server: labels of letters, digits and "-". The first may be "*", which is any one label. */
const SERVER_NAME = /^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$/i;
const SERVER_NAME_MAX = 253;

/** The files of a demo. */
const FILES = ['ca.crt', 'ca.key', 'server.crt', 'server.key', 'client.crt', 'client.key'] as const;

/**
 * Writes an authority, a pair for servers and a pair for a client into a folder, for trying out. The pair for servers has the
 * names of this machine, and those given: host names, with "*" for one label, or IP addresses. Returns the folder. Throws if one of the files
 * exists, or if a name is none.
 */
export async function writeDemoCertificates(folder: string, names: readonly string[] = []): Promise<string> {
  const wrong = names.find((name) => isIP(name) === 0 && (!SERVER_NAME.test(name) || name.length > SERVER_NAME_MAX));
  if (wrong !== undefined)
    throw new Error(`"${wrong}" is neither a host name, such as *.example.org, nor an IP address`);
  const path = resolve(folder);
  const existing = FILES.find((file) => existsSync(join(path, file)));
  if (existing !== undefined) throw new Error(`${join(path, existing)} exists; choose another folder`);
  const authority = await Authority.create('Rollcall demo authority', VALID_MS);
  const server = await authority.issue({
    name: 'rollcall demo server',
    alternatives: [
      { type: 'dns', value: 'localhost' },
      { type: 'dns', value: hostname() },
      { type: 'ip', value: '127.0.0.1' },
      { type: 'ip', value: '::1' },
      ...names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
    ],
    validMs: VALID_MS,
  });
  const client = await authority.issue({
    name: 'rollcall demo client',
    alternatives: [{ type: 'url', value: 'spiffe://rollcall.demo/ns/default/sa/demo' }],
    usages: ['client'],
    validMs: VALID_MS,
  });
  mkdirSync(path, { recursive: true });
  const contents = { ca: authority.pair, server, client };
  for (const [name, { cert, key }] of Object.entries(contents)) {
    writeFileSync(join(path, `${name}.crt`), cert, { flag: 'wx' });
    writeFileSync(join(path, `${name}.key`), key, { flag: 'wx', mode: 0o600 });
  }
  return path;
}
