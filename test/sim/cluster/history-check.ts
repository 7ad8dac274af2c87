import { TransitionKind } from '../../../src/gen/rollcall/v1/transition.js';
import { CHECK_FAILED, EXPIRED, type Standing } from '../records.js';
import type { ClusterScene } from './checker.js';
import type { Server } from './servers.js';

/** The transitions of instances. */
const OF_INSTANCES = new Set(
  ['REGISTERED', 'TAKEN_OVER', 'UPDATED', 'SILENT', 'HEALED', 'REPORTED', 'DEREGISTERED', 'EXPIRED'].map(
    (name) => TransitionKind[`TRANSITION_KIND_${name}` as keyof typeof TransitionKind],
  ),
);

/** The name of a change of a record, by what the store has held. */
function nameOf(before: Standing | undefined, next: Standing): string {
  if (next.removal !== undefined)
    return next.removal === EXPIRED || next.removal === CHECK_FAILED ? 'EXPIRED' : 'DEREGISTERED';
  if (!before || before.removal !== undefined) return 'REGISTERED';
  if (before.incarnation !== next.incarnation) return 'TAKEN_OVER';
  if (before.silent !== next.silent) return next.silent ? 'SILENT' : 'HEALED';
  return before.reported === next.reported ? 'UPDATED' : 'REPORTED';
}

/** The visible changes of a record between two revisions, as "revision name". */
function changesOf(states: readonly Standing[], after: bigint, upTo: bigint): string[] {
  const changes: string[] = [];
  let before: Standing | undefined;
  for (const next of states) {
    if (next.from !== next.revision) continue; // of its override
    const isVisible = !before || before.visible !== next.visible;
    if (isVisible && next.revision > after && next.revision <= upTo)
      changes.push(`${next.visible} ${nameOf(before, next)}`);
    before = next;
  }
  return changes;
}

/** What a server remembers of each instance is what the store's log shows, as far back as it calls itself complete. */
export function checkHistory(scene: ClusterScene, { name, replica }: Server): void {
  const { checker } = scene;
  const { history, catalog } = replica;
  const upTo = catalog.revision;
  for (const [key, states] of checker.history) {
    const { service, id } = states[0]!;
    const after = BigInt(history.completeSince({ namespace: 'default', service, id }).revision);
    const remembered = history.ring
      .ofInstance('default', service, id)
      .filter(({ kind, revision }) => OF_INSTANCES.has(kind) && BigInt(revision) > after)
      .map(({ revision, kind }) => `${revision} ${TransitionKind[kind].replace('TRANSITION_KIND_', '')}`)
      .reverse();
    const shown = changesOf(states, after, upTo);
    if (remembered.join() !== shown.join())
      checker.fail(
        'why',
        `${name} remembers of ${key} since ${after}: ${remembered.join()}; the store has ${shown.join()}`,
      );
    if (shown.length > 0) scene.count('histories compared', shown.length);
  }
}
