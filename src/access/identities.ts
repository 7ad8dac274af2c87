import { hash } from 'node:crypto';
import { decodeJwt, errors } from 'jose';
import type { Clock } from '../base/clock.js';
import { networkOf } from '../base/hosts.js';
import type { Telemetry } from '../base/telemetry.js';
import { RollcallError } from '../model/errors.js';
import { COUNTERS } from './instruments.js';
import type { VerifiedJwt } from './issuer.js';
import { ANONYMOUS, anonymous, type Principal, type PrincipalKind } from './principal.js';
import { FailedLogins, type Quota, Quotas } from './quotas.js';
import type { Rights } from './rights.js';
import type { Rules } from './rules.js';
import { hashOf, isToken } from './tokens.js';

/** JWTs that were verified are remembered, so that a caller waits for a signature once. Each costs about 1 kB. */
const JWTS_MAX = 10_000;

const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** A certificate that was verified. The same object for as long as the connection lasts. */
export interface ShownCertificate {
  /** Its subject alternative names, as Node writes them. */
  readonly subjectAltName: string | undefined;
}

/** Everything by which a caller can be known. */
export interface Credential {
  /** The header "authorization"; `undefined` if there is none. */
  readonly authorization: string | undefined;
  /** True if the header was sent more than once. */
  readonly isAmbiguous: boolean;
  /** `undefined` if the client showed none. */
  readonly certificate: ShownCertificate | undefined;
  /** The IP address of the caller. */
  readonly peerAddress: string;
}

/** The dependencies of Identities. */
export interface IdentitiesParts {
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'counters'>;
}

/** The part of an identity that depends on the rules in force. */
interface Resolved {
  readonly rights: Rights;
  readonly expiresMs: number | undefined;
}

/** Finds the callers that credentials belong to, by the rules in force. */
export class Identities {
  /** Rises with every change, so that identities look up their rights again. */
  #generation = 0;
  #rules: Rules;
  readonly #anonymous = anonymous(() => this.#rules.anonymous);
  /** The identities of tokens by hash, and of JWTs by digest. */
  readonly #tokens = new Map<string, Principal>();
  readonly #jwts = new Map<string, { readonly alias: string; readonly principal: Principal }>();
  /** JWTs whose signature is being verified, by digest. */
  readonly #verifying = new Map<string, Promise<Principal>>();
  readonly #quotas: Quotas;
  readonly #failedLogins: FailedLogins;
  #certificates = new WeakMap<ShownCertificate, Principal>();

  constructor(
    private readonly parts: IdentitiesParts,
    rules: Rules,
  ) {
    this.#rules = rules;
    this.#quotas = new Quotas(parts.clock);
    this.#failedLogins = new FailedLogins(parts.clock);
  }

  /** Takes over changed rules, or changed keys of the same ones. */
  renew(rules: Rules): void {
    this.#rules = rules;
    this.#generation++;
    // Those that have another name now are looked up again, under that name.
    this.#certificates = new WeakMap();
    for (const [tokenHash, { name }] of this.#tokens) {
      const rule = rules.tokens.get(tokenHash);
      if (!rule || `token:${rule.name}` !== name) this.#tokens.delete(tokenHash);
    }
    for (const [digest, { alias }] of this.#jwts) if (!rules.issuers.has(alias)) this.#jwts.delete(digest);
  }

  /** See Access. A header decides before a certificate does: a proxy or a mesh has one for all of its callers. */
  identify(credential: Credential): Principal | Promise<Principal> {
    const { authorization, isAmbiguous, certificate } = credential;
    if (isAmbiguous) throw refused('the header "authorization" must be sent once');
    if (authorization !== undefined) return this.#byHeader(authorization, credential);
    return certificate ? this.#byCertificate(certificate) : this.#anonymousAt(credential);
  }

  /** A caller without a credential. With limits each network of clients has its own. */
  #anonymousAt({ peerAddress }: Credential): Principal {
    const limits = this.#rules.limitsOf(ANONYMOUS);
    if (!limits) return this.#anonymous;
    const quota = this.#quotas.of(`${ANONYMOUS} ${networkOf(peerAddress)}`, limits);
    return anonymous(() => this.#rules.anonymous, quota);
  }

  #byHeader(authorization: string, from: Credential): Principal | Promise<Principal> {
    const [, credential] = BEARER.exec(authorization) ?? [];
    if (credential === undefined) throw refused('the header "authorization" must be "Bearer", a space and a token');
    if (isToken(credential)) return this.#byToken(hashOf(credential));
    if (JWT.test(credential)) return this.#byJwt(credential, networkOf(from.peerAddress));
    throw UNKNOWN_TOKEN;
  }

  #byToken(tokenHash: string): Principal {
    const known = this.#tokens.get(tokenHash);
    if (known) return known;
    const rule = this.#rules.tokens.get(tokenHash);
    if (!rule) throw UNKNOWN_TOKEN;
    const principal = this.#principal('token', rule.name, () => {
      const current = this.#rules.tokens.get(tokenHash);
      if (!current) throw UNKNOWN_TOKEN;
      return current;
    });
    this.#tokens.set(tokenHash, principal);
    return principal;
  }

  #byJwt(jwt: string, network: string): Principal | Promise<Principal> {
    const digest = hash('sha256', jwt, 'base64url');
    const known = this.#jwts.get(digest)?.principal ?? this.#verifying.get(digest);
    if (known) return known;
    this.#failedLogins.begin(network);
    const verifying = this.#verify(jwt, digest).then(
      (principal) => {
        this.#failedLogins.end(network, false);
        return principal;
      },
      (error: unknown) => {
        this.#failedLogins.end(network, error instanceof RollcallError && error.reason !== 'KEYS_UNAVAILABLE');
        throw error;
      },
    );
    this.#verifying.set(digest, verifying);
    const forget = (): void => void this.#verifying.delete(digest);
    verifying.then(forget, forget);
    return verifying;
  }

  async #verify(jwt: string, digest: string): Promise<Principal> {
    const issuer = this.#issuerOf(jwt);
    this.parts.telemetry.counters.add(COUNTERS.jwt_verifications);
    const { alias } = issuer.entry;
    const verified = await issuer.verify(jwt);
    const principal = this.#principal('jwt', `${alias}:${verified.subject}`, () => this.#resolveJwt(alias, verified));
    if (this.#jwts.size >= JWTS_MAX) {
      const [oldest] = this.#jwts.keys();
      this.#jwts.delete(oldest!);
    }
    this.#jwts.set(digest, { alias, principal });
    return principal;
  }

  #issuerOf(jwt: string) {
    try {
      const claims = decodeJwt(jwt);
      const issuer = [...this.#rules.issuers.values()].find((one) => one.isFor(claims));
      if (issuer) return issuer;
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) throw error;
    }
    throw refused('the JWT is of no issuer, or for no audience, that this server knows');
  }

  #resolveJwt(alias: string, { claims, expiresMs, thumbprint }: VerifiedJwt): Resolved {
    const issuer = this.#rules.issuers.get(alias);
    if (!issuer?.isFor(claims)) throw refused('the JWT is of no issuer, or for no audience, that this server knows');
    if (!issuer.keySet().thumbprints.has(thumbprint))
      throw refused('the JWT is signed by a key that its issuer publishes no longer');
    return { rights: issuer.rightsOf(claims), expiresMs };
  }

  #byCertificate(certificate: ShownCertificate): Principal {
    const known = this.#certificates.get(certificate);
    if (known) return known;
    const { subjectAltName } = certificate;
    const owner = this.#rules.ownerOf(subjectAltName);
    if (!owner) throw unknownCertificate();
    const principal = this.#principal('certificate', owner.name, () => {
      const current = this.#rules.ownerOf(subjectAltName);
      if (current?.name !== owner.name) throw unknownCertificate();
      return { rights: current.rights, expiresMs: undefined };
    });
    this.#certificates.set(certificate, principal);
    return principal;
  }

  /** A principal that resolves its rights again after every change of the rules. */
  #principal(kind: PrincipalKind, name: string, resolve: () => Resolved): Principal {
    const full = `${kind}:${name}`;
    let generation = -1;
    let resolved: Resolved & { readonly quota: Quota | undefined };
    const current = (): typeof resolved => {
      if (generation !== this.#generation) {
        const { rights, expiresMs } = resolve();
        resolved = { rights, expiresMs, quota: this.#quotas.of(full, this.#rules.limitsOf(full)) };
        generation = this.#generation;
      }
      return resolved;
    };
    const { clock } = this.parts;
    return {
      name: full,
      kind,
      rights: () => {
        const { rights, expiresMs } = current();
        if (expiresMs !== undefined && clock.wall() >= expiresMs)
          throw new RollcallError('TOKEN_EXPIRED', 'the token has expired');
        return rights;
      },
      expiresMs: () => current().expiresMs,
      quota: () => current().quota,
    };
  }
}

const refused = (message: string): RollcallError => new RollcallError('TOKEN_REFUSED', message);
/** One error for every unknown token, so that a flood of them costs little: see toFailure. */
const UNKNOWN_TOKEN: RollcallError = Object.freeze(refused('the token is not known, or was removed'));
const unknownCertificate = (): RollcallError =>
  new RollcallError('CERTIFICATE_UNKNOWN', 'no entry of the access file has the name of the certificate');
