import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import { temporaryFolder } from './server.js';

/** A certificate and its key: as PEM, and as files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

const ALGORITHMS = { keyType: 'ec', algorithm: 'sha256' } as const;

function written(name: string, { cert, private: key }: { cert: string; private: string }): Certificate {
  const folder = temporaryFolder();
  const certFile = join(folder, `${name}.crt`);
  const keyFile = join(folder, `${name}.key`);
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  return { cert, key, certFile, keyFile };
}

/** A certificate authority of one's own. */
export async function authority(name: string): Promise<Certificate> {
  const extensions = [
    { name: 'basicConstraints' as const, cA: true, critical: true },
    { name: 'keyUsage' as const, keyCertSign: true, digitalSignature: true },
  ];
  return written(name, await generate([{ name: 'commonName', value: name }], { ...ALGORITHMS, extensions }));
}

/** A certificate that an authority has signed, for servers on 127.0.0.1 and for clients. */
export async function signedBy(ca: Certificate, name: string): Promise<Certificate> {
  const extensions = [
    { name: 'basicConstraints' as const, cA: false },
    { name: 'keyUsage' as const, digitalSignature: true },
    { name: 'extKeyUsage' as const, serverAuth: true, clientAuth: true },
    { name: 'subjectAltName' as const, altNames: [{ type: 7 as const, ip: '127.0.0.1' }] },
  ];
  const signer = { key: ca.key, cert: ca.cert };
  return written(
    name,
    await generate([{ name: 'commonName', value: name }], { ...ALGORITHMS, extensions, ca: signer }),
  );
}
