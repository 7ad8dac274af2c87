import { maxOf } from '../../base/max.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Commits } from '../../catalog/commits.js';
import { RollcallError } from '../../model/errors.js';
import type { InstanceItem } from '../../model/instance.js';
import type { Compare, Revision, Txn } from '../../store/store.js';
import { COUNTERS } from './instruments.js';

/** The two outcomes that the judge commits, with their log lines. */
const LOG_LINES = { verdicts: 'recorded instances as SILENT', expiries: 'removed SILENT instances' } as const;

/** The most instances that one log line names: enough for a node, and a line of at most 30 kB. */
const NAMED_MAX = 100;

/** Commits verdicts and removals: many at a time, separately from all other commits. */
export class Outcomes {
  constructor(
    private readonly commits: Commits,
    private readonly telemetry: Telemetry,
  ) {}

  /** Commits the transaction of each case under a guard, and waits until the result is visible here. */
  async commit<C extends { readonly item: InstanceItem }>(
    cases: readonly C[],
    guard: readonly Compare[],
    counter: keyof typeof LOG_LINES,
    become: (judged: C) => Txn,
  ): Promise<void> {
    if (cases.length === 0) return;
    const { log, counters } = this.telemetry;
    const results = await this.commits.commitEach(guard, cases.map(become));
    const done = results.filter(({ ok }) => ok).length;
    const revision = results.reduce<Revision>((newest, result) => maxOf(newest, result.revision), 0n);
    counters.add(COUNTERS[counter], done);
    counters.add(COUNTERS.verdicts_refused, results.length - done);
    if (done > 0) {
      const named = cases.filter((_, i) => results[i]!.ok).slice(0, NAMED_MAX);
      const instances = named.map(({ item: { namespace, scope, name } }) => `${namespace}/${scope}/${name}`);
      log.info({ count: done, instances, revision: Number(revision) }, LOG_LINES[counter]);
    }
    await this.commits.visible(revision);
  }

  /** Logs that a commit failed. The judge tries again. */
  failed(error: unknown, message: string): void {
    if (!(error instanceof RollcallError)) this.telemetry.log.error({ err: error }, message);
    else this.telemetry.log.warn({ reason: error.reason }, message);
  }
}
