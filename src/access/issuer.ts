import { calculateJwkThumbprint, errors, exportJWK, type JWTPayload, jwtVerify, type JWTVerifyOptions } from 'jose';
import type { Clock } from '../base/clock.js';
import { RollcallError } from '../model/errors.js';
import type { IssuerEntry } from './access-file.js';
import { type Claims, type ConditionalGrant, conditionalGrants, rightsOfClaims } from './grants.js';
import type { IssuerKeys, KeySet } from './issuer-keys.js';
import type { Rights } from './rights.js';

/** The algorithms of signatures that count: asymmetric ones. With a symmetric one the public key would be the secret. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
/** How much the clocks of the issuer and of this server may differ. */
const CLOCK_TOLERANCE_S = 30;
/** The greatest number of characters of a subject in the name of a caller. Those of Kubernetes have up to 340. */
const SUBJECT_CHARS_MAX = 512;

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** A JWT whose signature and claims were verified. */
export interface VerifiedJwt {
  readonly subject: string;
  readonly claims: Claims;
  /** Wall-clock milliseconds at which it ends, the tolerance included. */
  readonly expiresMs: number;
  /** The thumbprint of the key that signed it. */
  readonly thumbprint: string;
}

/** One issuer of JWTs, as the access file in force has it. */
export class Issuer {
  readonly #grants: readonly ConditionalGrant[];

  constructor(
    readonly entry: IssuerEntry,
    readonly keys: IssuerKeys,
    private readonly clock: Clock,
  ) {
    this.#grants = conditionalGrants(entry.grants);
  }

  /** Returns true if a JWT with these claims would be one of this issuer, for this server. */
  isFor({ iss, aud }: JWTPayload): boolean {
    const { issuer, audience } = this.entry;
    return iss === issuer && (Array.isArray(aud) ? aud.includes(audience) : aud === audience);
  }

  /** Verifies a JWT. Rejects with a RollcallError. */
  async verify(jwt: string): Promise<VerifiedJwt> {
    try {
      return await this.#verifyWith(this.keySet(), jwt);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw toRefusal(error);
      await this.keys.readForUnknownKey();
      return this.#verifyWith(this.keySet(), jwt).catch((again: unknown) => {
        throw toRefusal(again);
      });
    }
  }

  /** The rights of a JWT that was verified. */
  rightsOf(claims: Claims): Rights {
    return rightsOfClaims(this.#grants, claims);
  }

  /** The keys that count now. Throws KEYS_UNAVAILABLE if there are none. */
  keySet(): KeySet {
    const { current } = this.keys;
    if (current) return current;
    const message = `the keys of the issuer "${this.entry.alias}" cannot be read, so its tokens cannot be verified now`;
    throw new RollcallError('KEYS_UNAVAILABLE', message);
  }

  async #verifyWith({ find }: KeySet, jwt: string): Promise<VerifiedJwt> {
    const options: JWTVerifyOptions = {
      ...{ algorithms: ALGORITHMS, issuer: this.entry.issuer, audience: this.entry.audience },
      ...{
        requiredClaims: ['exp', 'sub'],
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: new Date(this.clock.wall()),
      },
    };
    const { payload, key } = await jwtVerify(jwt, find, options).catch(async (error: unknown) => {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      // The token names no key: each that fits is tried.
      for await (const candidate of error) {
        const verified = await jwtVerify(jwt, candidate, options).catch(ifOtherKey);
        if (verified) return { ...verified, key: candidate };
      }
      throw new errors.JWSSignatureVerificationFailed();
    });
    const { sub, exp } = payload;
    if (typeof sub !== 'string' || sub === '' || sub.length > SUBJECT_CHARS_MAX || CONTROL.test(sub))
      throw new errors.JWTClaimValidationFailed('the claim "sub" is no name', payload, 'sub');
    return {
      subject: sub,
      claims: payload,
      expiresMs: (exp! + CLOCK_TOLERANCE_S) * 1_000,
      thumbprint: await calculateJwkThumbprint(await exportJWK(key)),
    };
  }
}

/** Passes over a signature of another key. */
function ifOtherKey(error: unknown): undefined {
  if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
}

/** The error for a JWT that was refused. It never repeats a part of the token. */
function toRefusal(error: unknown): unknown {
  if (error instanceof errors.JWTExpired) return new RollcallError('TOKEN_EXPIRED', 'the JWT has expired');
  if (error instanceof errors.JWTClaimValidationFailed)
    return new RollcallError('TOKEN_REFUSED', `the claim "${error.claim}" of the JWT is missing or not accepted`);
  if (error instanceof errors.JOSEAlgNotAllowed)
    return new RollcallError('TOKEN_REFUSED', 'the algorithm of the JWT is not accepted');
  if (error instanceof errors.JWKSNoMatchingKey)
    return new RollcallError('TOKEN_REFUSED', 'the JWT is signed by a key that its issuer does not publish');
  if (error instanceof errors.JOSEError)
    return new RollcallError('TOKEN_REFUSED', 'the JWT is malformed, or its signature is wrong');
  return error;
}
