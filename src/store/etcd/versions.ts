/** Versions of etcd with faults that lose or invent data. docs/guides/operations.md describes them. */
const BAD_VERSIONS: readonly (readonly [RegExp, string])[] = [
  [/^3\.4\.(\d|[1-3]\d|4[01])$/, '3.4 before 3.4.42 can lose events of a watch and answer stale reads'],
  [/^3\.5\.[0-2]$/, '3.5 before 3.5.3 can corrupt its data when it is killed'],
  [/^3\.[0-3]\./, 'versions before 3.4 are not supported'],
];

/** The first patch of each minor version of etcd 3 in which a user reaches no more than its roles allow. */
const FIRST_WITH_RIGHTS: ReadonlyMap<number, number> = new Map([
  [5, 33],
  [6, 14],
  [7, 1],
]);

/** The first minor version of etcd 3 whose every patch has these fixes. */
const ALL_WITH_RIGHTS = 8;

const RIGHTS =
  'with authentication, versions before 3.5.33, 3.6.14 and 3.7.1 let a user read or change keys beyond its roles ' +
  '(GHSA-q8m4-xhhv-38mg, GHSA-rfx7-8w68-q57q, GHSA-x35m-3gp4-4fh5, GHSA-xg4h-6gfc-h4m8)';

/** The known faults of a version of etcd. `hasUsers` is true if others may use the same etcd under names of their own. */
export function faultsOfVersion(version: string, hasUsers: boolean): string[] {
  const bad = BAD_VERSIONS.find(([versions]) => versions.test(version));
  return [...(bad ? [bad[1]] : []), ...(hasUsers && !holdsRights(version) ? [RIGHTS] : [])];
}

/** Returns true if a version keeps users to their roles. A version that cannot be read is taken for a later one. */
function holdsRights(version: string): boolean {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || Number(major) > 3 || Number(minor) >= ALL_WITH_RIGHTS) return true;
  return Number(patch) >= (FIRST_WITH_RIGHTS.get(Number(minor)) ?? Infinity);
}
