import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Authority, type CertificateFacts, type Pair } from '../../src/tls/authority.js';
import { temporaryFolder } from './server.js';

const VALID_MS = 24 * 3_600_000;

/** A certificate and its key: as PEM, and as files. */
export interface Certificate extends Pair {
  readonly certFile: string;
  readonly keyFile: string;
  /** The certificate of its authority. */
  readonly trust: string;
}

/** A certificate authority of one's own. */
export interface TestAuthority extends Certificate {
  /** Signs a certificate, by default for servers on loopback and for clients. */
  issue(name: string, facts?: Partial<CertificateFacts>): Promise<Certificate>;
  /** A list that revokes certificates, in PEM. */
  revoke(...certificates: readonly Certificate[]): Promise<string>;
}

function written(name: string, { cert, key }: Pair, trust = cert): Certificate {
  const folder = temporaryFolder();
  const certFile = join(folder, `${name}.crt`);
  const keyFile = join(folder, `${name}.key`);
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  return { cert, key, certFile, keyFile, trust };
}

/** Makes an authority. */
export async function authority(name: string): Promise<TestAuthority> {
  const made = await Authority.create(name, VALID_MS);
  const alternatives = [
    { type: 'ip' as const, value: '127.0.0.1' },
    { type: 'dns' as const, value: 'localhost' },
  ];
  return {
    ...written(name, made.pair),
    issue: async (subject, facts) =>
      written(subject, await made.issue({ name: subject, alternatives, validMs: VALID_MS, ...facts }), made.pair.cert),
    revoke: (...certificates) => made.revoke(...certificates.map(({ cert }) => cert)),
  };
}
