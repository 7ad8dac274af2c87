import type { GrantText } from './access-file.js';
import type { Action } from './actions.js';
import { type Captures, fill, Matcher, Pattern } from './patterns.js';
import { type Grant, Rights } from './rights.js';

/** The greatest number of ways in which the claims of one token match one grant: groups may have many names. */
const MATCHES_MAX = 100;

const ALL: readonly string[] = ['*'];

/** The rights of grants, whose captures a credential has filled. */
export const rightsOf = (grants: readonly GrantText[], captures: Captures = {}): Rights =>
  new Rights(grants.flatMap((grant) => grantsOf(grant, captures)));

/** One grant as its role has it: the parts of a role may reach further than the names. */
function grantsOf({ role, namespaces, services, configs }: GrantText, captures: Captures): Grant[] {
  const patterns = (texts: readonly string[]): Pattern[] => texts.map((text) => new Pattern(fill(text, captures)));
  return role.parts.map(({ actions, reach }) => {
    const isNamed = reach === 'NAMED';
    return {
      actions: new Set<Action>(actions),
      namespaces: patterns(namespaces),
      services: patterns(isNamed ? (services ?? ALL) : ALL),
      configs: patterns(isNamed ? (configs ?? (role.namesRequired ? [] : ALL)) : []),
    };
  });
}

/** The claims of a JWT. */
export type Claims = Readonly<Record<string, unknown>>;

/** A grant of an issuer, ready to be matched with claims. */
export interface ConditionalGrant {
  readonly grant: GrantText;
  readonly conditions: readonly { readonly claim: string; readonly matcher: Matcher }[];
}

/** Prepares the grants of an issuer. */
export const conditionalGrants = (grants: readonly GrantText[]): ConditionalGrant[] =>
  grants.map((grant) => ({
    grant,
    conditions: Object.entries(grant.if).map(([claim, text]) => ({ claim, matcher: new Matcher(text) })),
  }));

/** The rights that claims give. */
export const rightsOfClaims = (grants: readonly ConditionalGrant[], claims: Claims): Rights =>
  new Rights(
    grants.flatMap(({ grant, conditions }) =>
      waysToMatch(conditions, claims).flatMap((captures) => grantsOf(grant, captures)),
    ),
  );

/** Every set of captures with which all conditions hold. A capture of two conditions has the same text in both. */
function waysToMatch(conditions: ConditionalGrant['conditions'], claims: Claims): Captures[] {
  let ways: Captures[] = [{}];
  for (const { claim, matcher } of conditions) {
    const found = textsOf(claimOf(claims, claim))
      .map((text) => matcher.match(text))
      .filter((captures) => captures !== undefined);
    ways = ways
      .flatMap((way) => found.filter((more) => agree(way, more)).map((more) => ({ ...way, ...more })))
      .slice(0, MATCHES_MAX);
  }
  return ways;
}

const agree = (a: Captures, b: Captures): boolean =>
  Object.entries(b).every(([name, text]) => a[name] === undefined || a[name] === text);

/** A claim by its name. A name with dots that is no claim leads into claims that are objects, such as realm_access.roles. */
function claimOf(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const part of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Claims)[part];
  }
  return value;
}

/** The texts that a claim has: itself, or those of its list. */
function textsOf(value: unknown): string[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  return values.flatMap((one) => (['string', 'number', 'boolean'].includes(typeof one) ? [String(one)] : []));
}
