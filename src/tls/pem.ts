import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { TlsContents } from '../base/tls-source.js';

/** A file of PEM text. */
export interface PemFile {
  readonly path: string;
  readonly content: Buffer;
}

/** The files of one use of TLS. */
export interface PemFiles {
  /** The own certificate, followed by those of the authorities between it and the root. */
  readonly cert?: PemFile;
  /** The private key of `cert`. */
  readonly key?: PemFile;
  /** The authorities that the certificates of others are verified with. */
  readonly ca?: PemFile;
  /** Lists of revoked certificates. */
  readonly crl?: PemFile;
}

/** The parts of PemFiles. */
export type PemPart = keyof PemFiles;

/** A fault of some files: the part to change, and the rule that it breaks. */
export interface PemFault {
  readonly part: PemPart;
  readonly rule: string;
}

/** The extended key usage of a certificate that a client may show. */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** The blocks of a label in a file, in order. Throws if one is cut: half of a file must not be taken for the whole. */
function blocksOf(label: string, { content }: PemFile): string[] {
  const text = content.toString('latin1');
  const blocks = text.match(new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, 'g')) ?? [];
  const begun = text.match(/-----BEGIN /g)?.length ?? 0;
  if (blocks.length < begun) throw new Error('a block is cut, or has another label');
  return blocks;
}

/** The certificates of a file, in order. Throws if one cannot be read. */
const certificatesIn = (file: PemFile): X509Certificate[] =>
  blocksOf('CERTIFICATE', file).map((text) => new X509Certificate(text));

/** The lists of revoked certificates in a file. Node reads one from each text that it is given. */
const listsIn = (file: PemFile): string[] => blocksOf('X509 CRL', file);

/** Returns the result of `read`, `undefined` if it throws. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** The first fault of files that are used together; `undefined` if they can be used. */
export function faultOf(files: PemFiles): PemFault | undefined {
  const { cert, key, ca, crl } = files;
  const own = cert && attempt(() => certificatesIn(cert))?.[0];
  if (cert && !own) return { part: 'cert', rule: 'must hold a certificate in PEM' };
  if (ca && !attempt(() => certificatesIn(ca))?.length) return { part: 'ca', rule: 'must hold certificates in PEM' };
  const read = key && attempt(() => createPrivateKey(key.content));
  if (key && !read) return { part: 'key', rule: 'must hold a private key in PEM, without a password' };
  if (cert && own && read && !own.checkPrivateKey(read))
    return { part: 'key', rule: `must be the private key of ${cert.path}` };
  const lists = crl && attempt(() => listsIn(crl));
  if (crl && (!lists?.length || !attempt(() => createSecureContext({ crl: lists }))))
    return { part: 'crl', rule: 'must hold lists of revoked certificates in PEM' };
  // OpenSSL has rules of its own, such as the least size of a key.
  if (!attempt(() => createSecureContext(contentsOf(files)))) return { part: 'cert', rule: 'is refused by OpenSSL' };
  return undefined;
}

/** The contents of files, as Node takes them. */
export function contentsOf(files: PemFiles): TlsContents {
  const { cert, key, ca, crl } = files;
  return {
    ...(cert && { cert: cert.content }),
    ...(key && { key: key.content }),
    ...(ca && { ca: ca.content }),
    ...(crl && { crl: listsIn(crl) }),
  };
}

/** Returns true if a client may show the certificate: its extended key usage, if it has one, includes clientAuth. */
export function fitsClients(cert: PemFile): boolean {
  const [own] = certificatesIn(cert);
  const usages = own?.keyUsage as readonly string[] | undefined;
  return usages === undefined || usages.includes(CLIENT_AUTH);
}

/** Returns true if a certificate is valid for a host: a name, or an address with or without brackets. */
export function isValidFor(cert: PemFile, host: string): boolean {
  const [own] = certificatesIn(cert);
  const name = host.replace(/^\[(.*)\]$/, '$1');
  return (isIP(name) > 0 ? own?.checkIP(name) : own?.checkHost(name)) !== undefined;
}

/** The wall-clock time at which the first certificate of a chain stops being valid. */
export const notAfterMs = (cert: PemFile): number =>
  Math.min(...certificatesIn(cert).map(({ validTo }) => Date.parse(validTo)));
