import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Reach } from './client.js';
import { mainOf, THIS_CHECKOUT } from './server.js';

/** The arguments with which a server knows its callers or speaks TLS, and how it is reached then. */
export interface Guards {
  readonly args: readonly string[];
  readonly reach: Reach;
}

/** A server that takes everybody in clear text. */
export const NO_GUARDS: Guards = { args: [], reach: {} };

/** Limits that no benchmark reaches, so that each call is counted and none is refused. */
const QUOTAS = `quotas:
  - { callers: ["token:*"], calls-per-second: 1000000, beats-per-second: 10000000, watches: 100000 }
`;

/** Makes the files of a server of this build. `more` is added to the access file, after the quotas. */
export function guards(folder: string, { access, tls }: { access: boolean; tls: boolean }, more = ''): Guards {
  const [token, file] = access ? accessFile(folder, more) : [undefined, undefined];
  const certificates = tls ? demoCertificates(folder) : undefined;
  return {
    args: [
      ...(file === undefined ? [] : ['--access', file, '--audit-log', join(folder, 'audit.log')]),
      ...(certificates ? ['--tls-cert', certificates.cert, '--tls-key', certificates.key] : []),
    ],
    reach: { token, ca: certificates && readFileSync(certificates.ca) },
  };
}

/** Draws a token with every right, and writes the access file. */
function accessFile(folder: string, more: string): [token: string, file: string] {
  const text = execFileSync(process.execPath, [mainOf(THIS_CHECKOUT), 'token', 'new', 'bench'], { encoding: 'utf8' });
  const [token] = /rc_[\w-]{43}/.exec(text) ?? [];
  const [hash] = /sha256:[\w-]{43}/.exec(text) ?? [];
  const file = join(folder, 'access.yaml');
  const grants = '[{ role: admin, namespaces: ["*"] }]';
  writeFileSync(file, `tokens: [{ name: bench, hash: "${hash}", grants: ${grants} }]\n${QUOTAS}${more}`, {
    mode: 0o600,
  });
  return [token!, file];
}

function demoCertificates(folder: string): { ca: string; cert: string; key: string } {
  const target = join(folder, 'certs');
  execFileSync(process.execPath, [mainOf(THIS_CHECKOUT), 'certs', 'demo', target], { stdio: 'ignore' });
  const [ca, cert, key] = ['ca.crt', 'server.crt', 'server.key'].map((name) => join(target, name));
  return { ca: ca!, cert: cert!, key: key! };
}
