import 'reflect-metadata'; // the library below needs it
import { webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509';

type KeyPair = webcrypto.CryptoKeyPair;

cryptoProvider.set(webcrypto as unknown as Parameters<typeof cryptoProvider.set>[0]);

/** ECDSA: a handshake costs a server a tenth of that with RSA. */
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Certificates are valid from a while ago, so that a clock that is a little slow accepts them. */
const BACKDATED_MS = 3_600_000;

/** A certificate and its key, in PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** A name in a certificate, besides its subject. */
export type SubjectName = NonNullable<
  Extract<ConstructorParameters<typeof SubjectAlternativeNameExtension>[0], unknown[]>
>[number];

/** The facts of a new certificate. */
export interface CertificateFacts {
  /** The common name. */
  readonly name: string;
  readonly alternatives?: readonly SubjectName[];
  /** Default: for servers and for clients. */
  readonly usages?: readonly ('server' | 'client')[];
  readonly validMs: number;
}

const USAGES = { server: ExtendedKeyUsage.serverAuth, client: ExtendedKeyUsage.clientAuth } as const;

/** A certificate authority, for trying out and for tests: its key lies in memory and in a file, and nothing protects it. */
export class Authority {
  private constructor(
    private readonly certificate: X509Certificate,
    private readonly keys: KeyPair,
    /** The certificate and the key of the authority. */
    readonly pair: Pair,
  ) {}

  static async create(name: string, validMs: number): Promise<Authority> {
    const keys = await newKeys();
    const certificate = await X509CertificateGenerator.createSelfSigned({
      ...validity(validMs),
      serialNumber: serialNumber(),
      name: [{ CN: [name] }],
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return new Authority(certificate, keys, { cert: certificate.toString('pem'), key: await pemOf(keys) });
  }

  /** Signs a new certificate with a new key. */
  async issue({ name, alternatives = [], usages = ['server', 'client'], validMs }: CertificateFacts): Promise<Pair> {
    const keys = await newKeys();
    const extensions: Extension[] = [
      new BasicConstraintsExtension(false),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension(usages.map((usage) => USAGES[usage])),
      await AuthorityKeyIdentifierExtension.create(this.keys.publicKey),
    ];
    if (alternatives.length > 0) extensions.push(new SubjectAlternativeNameExtension([...alternatives]));
    const certificate = await X509CertificateGenerator.create({
      ...validity(validMs),
      serialNumber: serialNumber(),
      subject: [{ CN: [name] }],
      issuer: this.certificate.subject,
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.keys.privateKey,
      extensions,
    });
    return { cert: certificate.toString('pem'), key: await pemOf(keys) };
  }

  /** A list that revokes certificates of this authority, in PEM. */
  async revoke(...certificates: readonly string[]): Promise<string> {
    const now = new Date();
    const list = await X509CrlGenerator.create({
      issuer: this.certificate.subject,
      thisUpdate: new Date(now.getTime() - BACKDATED_MS),
      nextUpdate: new Date(now.getTime() + BACKDATED_MS),
      signingAlgorithm: ALGORITHM,
      signingKey: this.keys.privateKey,
      entries: certificates.map((pem) => ({
        serialNumber: new X509Certificate(pem).serialNumber,
        revocationDate: now,
      })),
    });
    return PemConverter.encode(list.rawData, 'X509 CRL'); // the label that OpenSSL knows
  }
}

const newKeys = (): Promise<KeyPair> => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

async function pemOf({ privateKey }: KeyPair): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY');
}

function validity(validMs: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - BACKDATED_MS), notAfter: new Date(now + validMs) };
}

/** A random number of 128 bits, positive as certificates want it. */
function serialNumber(): string {
  const bytes = Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)));
  bytes[0]! &= 0x7f;
  bytes[0]! |= 0x01;
  return bytes.toString('hex');
}
