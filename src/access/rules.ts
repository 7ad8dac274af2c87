import type { Clock } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { Log } from '../base/telemetry.js';
import type { AccessFile, GrantText } from './access-file.js';
import { namesIn } from './certificate-names.js';
import { rightsOf } from './grants.js';
import { Issuer } from './issuer.js';
import { IssuerKeys } from './issuer-keys.js';
import { Matcher, Pattern } from './patterns.js';
import type { Limits } from './quotas.js';
import { Rights } from './rights.js';

/** A token of the file, with its rights. */
export interface TokenRule {
  readonly name: string;
  readonly rights: Rights;
  /** Wall-clock milliseconds at which it ends; `undefined` if never. */
  readonly expiresMs: number | undefined;
}

/** The owner of a certificate. */
export interface CertificateOwner {
  /** The name in the certificate by which the owner is known. */
  readonly name: string;
  readonly rights: Rights;
}

/** The surroundings of Rules. */
export interface RulesParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly keepMs: () => number;
  /** Called when the keys of an issuer have changed, or have become stale or fresh. */
  readonly onKeys: () => void;
}

/** An access file in the form in which callers are looked up. It does not change, except for the keys of its issuers. */
export class Rules implements Closeable {
  readonly tokens: ReadonlyMap<string, TokenRule>;
  readonly issuers: ReadonlyMap<string, Issuer>;
  readonly anonymous: Rights;
  /** True if a caller may operate the whole server. */
  readonly hasOperator: boolean;
  readonly #limits: readonly { readonly callers: readonly Pattern[]; readonly limits: Limits }[];
  readonly #certificates: readonly {
    readonly isUri: boolean;
    readonly matcher: Matcher;
    readonly grants: readonly GrantText[];
  }[];

  /** Keys of issuers that `before` has read go on; it is not to be used afterwards. */
  constructor(file: AccessFile, before: Rules | undefined, parts: RulesParts) {
    this.tokens = new Map(
      file.tokens.map(({ name, hash, expiresMs, grants }) => [hash, { name, rights: rightsOf(grants), expiresMs }]),
    );
    this.#certificates = file.certificates.map(({ match, grants }) => {
      const isUri = match.includes('://');
      return { isUri, matcher: new Matcher(isUri ? match : match.toLowerCase(), !isUri), grants };
    });
    this.anonymous = rightsOf(file.anonymous);
    this.#limits = file.quotas.map(({ callers, limits }) => ({
      callers: callers.map((text) => new Pattern(text)),
      limits,
    }));
    this.issuers = new Map(
      file.issuers.map((entry) => {
        const { clock, log, keepMs, onKeys } = parts;
        const old = before?.issuers.get(entry.alias);
        const isSame = JSON.stringify(old?.entry.keys) === JSON.stringify(entry.keys);
        const keys =
          old && isSame ? old.keys : new IssuerKeys({ clock, log, keys: entry.keys, keepMs, onChange: onKeys });
        if (!old || !isSame) keys.start();
        return [entry.alias, new Issuer(entry, keys, clock)];
      }),
    );
    const kept = new Set([...this.issuers.values()].map(({ keys }) => keys));
    for (const { keys } of before?.issuers.values() ?? []) if (!kept.has(keys)) keys.close();
    const grants = [file.tokens, file.issuers, file.certificates].flatMap((entries) =>
      entries.flatMap((entry) => entry.grants),
    );
    this.hasOperator = rightsOf(grants.filter(isPlain)).everywhere('operate') || this.anonymous.everywhere('operate');
  }

  /** The owner of a certificate, from its subject alternative names; `undefined` if the file has no entry for them. */
  ownerOf(subjectAltName: string | undefined): CertificateOwner | undefined {
    const { uris, dns } = namesIn(subjectAltName);
    // A certificate with two URIs has no SPIFFE ID.
    const names = [
      ...(uris.length === 1 ? uris.map((name) => ({ name, isUri: true })) : []),
      ...dns.map((name) => ({ name, isUri: false })),
    ];
    for (const { name, isUri } of names) {
      const found = this.#certificates.flatMap((entry) => {
        const captures = entry.isUri === isUri ? entry.matcher.match(name) : undefined;
        return captures ? rightsOf(entry.grants, captures).grants : [];
      });
      if (found.length > 0) return { name, rights: new Rights(found) };
    }
    return undefined;
  }

  /** The limits of a caller: those of the first entry that has its name. `undefined` if there is none. */
  limitsOf(name: string): Limits | undefined {
    return this.#limits.find(({ callers }) => callers.some((pattern) => pattern.has(name)))?.limits;
  }

  /** Why the keys of issuers are stale. Empty if they are not. */
  staleKeys(): string[] {
    return [...this.issuers.values()].flatMap(({ keys }) => keys.staleness ?? []);
  }

  close(): void {
    for (const { keys } of this.issuers.values()) keys.close();
  }
}

/** A grant whose names hold no captures. */
const isPlain = ({ namespaces, services, configs }: GrantText): boolean =>
  ![namespaces, services ?? [], configs ?? []].flat().some((text) => text.includes('{'));
