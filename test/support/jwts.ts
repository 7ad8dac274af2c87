import { exportJWK, generateKeyPair, type GenerateKeyPairResult, type JSONWebKeySet, SignJWT } from 'jose';

/** An issuer of JWTs for tests: one key, which it publishes under a name. */
export class TestIssuer {
  private constructor(
    readonly issuer: string,
    readonly kid: string,
    private readonly keys: GenerateKeyPairResult,
    private readonly alg: string,
  ) {}

  static async create(issuer = 'https://issuer.example', kid = 'k1', alg = 'ES256'): Promise<TestIssuer> {
    return new TestIssuer(issuer, kid, await generateKeyPair(alg, { extractable: true }), alg);
  }

  /** The keys that the issuer publishes. */
  async jwks(...others: readonly TestIssuer[]): Promise<JSONWebKeySet> {
    const published = await Promise.all(
      [this, ...others].map(({ keys, kid }) => exportJWK(keys.publicKey).then((key) => ({ ...key, kid }))),
    );
    return { keys: published.map((key) => ({ ...key, use: 'sig' })) };
  }

  /** Signs a JWT with the usual claims, unless others are given; `undefined` leaves a claim out. */
  sign(
    claims: Readonly<Record<string, unknown>> = {},
    header: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const seconds = Math.floor(Date.now() / 1_000);
    const usual = { iss: this.issuer, aud: 'rollcall', sub: 'shop:pay', exp: seconds + 3_600 };
    return new SignJWT({ ...usual, ...claims })
      .setProtectedHeader({ alg: this.alg, kid: this.kid, ...header })
      .sign(this.keys.privateKey);
  }

  /** The public key in the form in which a caller that confuses the algorithms would use it as a secret. */
  async publicKeyText(): Promise<string> {
    return JSON.stringify(await exportJWK(this.keys.publicKey));
  }
}
