import { type CheckStatus, CheckVerdict, type HealthCheck, ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { Health, HealthReason, type Instance } from '../../gen/rollcall/v1/instance.js';
import { fromDuration } from '../../model/time.js';
import { CommandFailed, Exit } from '../exits.js';
import { serviceOrInstanceNamed } from '../names.js';
import { type Cell, plain, table } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, everyPage, healthCell, lastProbeWords } from '../shown.js';

/** The flags that define one check. Times are in seconds. */
export interface CheckFlags {
  readonly checkHttp?: string;
  readonly checkTcp?: boolean;
  readonly checkGrpc?: string | true;
  readonly checkEndpoint?: string;
  readonly checkTls?: boolean;
  readonly checkInterval?: number;
  readonly checkTimeout?: number;
  readonly checkFailures?: number;
  readonly checkPasses?: number;
  readonly checkRemovesAfter?: number;
}

/** The check that the flags define. `undefined` if they define none. Throws CommandFailed. */
export function checkOf(flags: CheckFlags): Partial<HealthCheck> | undefined {
  const { checkHttp: path, checkTcp, checkGrpc, checkEndpoint, checkTls } = flags;
  const kinds = [path, checkTcp, checkGrpc].filter((one) => one !== undefined).length;
  const hasOther = Object.entries(flags).some(([name, value]) => name.startsWith('check') && value !== undefined);
  if (kinds === 0 && !hasOther) return undefined;
  if (kinds !== 1) throw new CommandFailed('a check is one of --check-http, --check-tcp and --check-grpc', Exit.USAGE);
  const probe =
    path !== undefined
      ? { $case: 'http' as const, value: { path } }
      : checkGrpc !== undefined
        ? { $case: 'grpc' as const, value: { service: checkGrpc === true ? '' : checkGrpc } }
        : { $case: 'tcp' as const, value: {} };
  const time = (s: number | undefined) => (s === undefined ? undefined : { seconds: BigInt(s), nanos: 0 });
  const check = {
    ...{ probe, endpoint: checkEndpoint ?? '', interval: time(flags.checkInterval), timeout: time(flags.checkTimeout) },
    ...{ unhealthyThreshold: flags.checkFailures ?? 0, healthyThreshold: flags.checkPasses ?? 0 },
    ...{ deregisterAfter: time(flags.checkRemovesAfter), tls: checkTls ? {} : undefined },
  };
  return check as Partial<HealthCheck>; // the client fills the fields of nested messages
}

/** The most instances of which the last probe is asked for, and how many are asked for at a time. */
const ASKED_MAX = 20;
const ASKED_AT_ONCE = 5;
/** The answer for a caller who may not see the probes. */
const NONE = { checks: [] as CheckStatus[] };
/** The outcomes that need no note. */
const PASSED = [ProbeOutcome.PROBE_OUTCOME_PASS, ProbeOutcome.PROBE_OUTCOME_DEGRADED];

const wordOf = (verdict: CheckVerdict): string => CheckVerdict[verdict].replace('CHECK_VERDICT_', '').toLowerCase();

/** Shows the verdicts on the checks of a service, or the last probes of one instance. */
export async function showChecks({ client, show, namespace, signal }: Session<unknown>, name: string): Promise<void> {
  const { service, id } = serviceOrInstanceNamed(name);
  if (id !== '') {
    const answer = await client.registry.getCheckResults({ namespace, service, id }, { signal });
    return show('registry.getCheckResults', answer, () => {
      const { summary, checks } = answer;
      if (!summary) return `${service}/${id} has no checks\n`;
      const { releasedBy, releaseComment } = summary;
      const because = (releasedBy ? ['released', releaseComment] : [summary.check, summary.error])
        .filter(Boolean)
        .map(plain)
        .join(': ');
      const notes = [...new Set(checks.map(({ note }) => note).filter(Boolean))].map((note) => `${plain(note)}\n`);
      const head = `${service}/${id}  ${wordOf(summary.verdict)}${because && ` (${because})`}\n${notes.join('')}`;
      const rows = checks.flatMap(({ check, node, results, nextIn }) => {
        const next = nextIn ? `in ${(fromDuration(nextIn) / 1_000).toFixed(0)} s` : '-';
        const of = `${plain(check!.name)}, by ${plain(node) || 'nobody'}, next ${next}`;
        return results.map((one, i): Cell[] => [
          i === 0 ? of : '',
          agoOf(one.time),
          ProbeOutcome[one.outcome].replace('PROBE_OUTCOME_', '').toLowerCase(),
          one.latency ? `${fromDuration(one.latency).toFixed(0)} ms` : '-',
          plain(one.error) || '-',
        ]);
      });
      return head + table(['CHECK', 'PROBED', 'OUTCOME', 'TOOK', 'ERROR'], rows);
    });
  }
  const answer = await everyPage(
    (page) => client.registry.listInstances({ ...page, namespace, service }, { signal }),
    'instances',
  );
  const { services } = await everyPage(
    (page) => client.registry.listServiceChecks({ ...page, namespace }, { signal }),
    'services',
  );
  const shared = services.find((one) => one.service === service && one.checks.length > 0);
  if (answer.instances.length === 0 && !shared)
    throw new CommandFailed(`${service} has no instances and no checks`, Exit.NOT_FOUND);
  const isPending = (one: Instance): boolean => one.healthReason === HealthReason.HEALTH_REASON_CHECK_PENDING;
  const isUp = (one: Instance): boolean => one.health === Health.HEALTH_HEALTHY;
  const probed = answer.instances.filter((one) => one.checks.length > 0 || shared);
  // The record of an instance says neither why it waits, nor that a failure of it is not recorded.
  const unknown = [...probed.filter(isPending), ...probed.filter(isUp)];
  const notes = new Map<string, string>();
  for (let i = 0; i < Math.min(unknown.length, ASKED_MAX); i += ASKED_AT_ONCE)
    await Promise.all(
      unknown.slice(i, Math.min(i + ASKED_AT_ONCE, ASKED_MAX)).map(async (one) => {
        const request = { namespace, service, id: one.id };
        const { checks } = (await client.registry.getCheckResults(request, { signal }).catch(() => undefined)) ?? NONE;
        const isDoubtful = ({ results: [last], note }: CheckStatus): boolean =>
          note !== '' || (last !== undefined && !PASSED.includes(last.outcome));
        const doubtful = isPending(one) ? checks : checks.filter(isDoubtful);
        const words = doubtful
          .map(lastProbeWords)
          .map(({ outcome, words }) => [outcome, words].filter(Boolean).join(': '));
        if (words.length > 0) notes.set(one.id, words.join(', '));
      }),
    );
  const ofService = shared && shared.checks.map(wordsOf).join(', ');
  await show('registry.listInstances', answer, () => {
    const comment = shared?.comment ? ` (${plain(shared.comment)})` : '';
    const head = ofService === undefined ? '' : `of the service: ${ofService}${comment}\n\n`;
    const rows = answer.instances.map((one): Cell[] => [
      `${one.service}/${one.id}`,
      healthCell(one),
      one.checks.map(wordsOf).join(', ') || (ofService === undefined ? 'none' : 'of the service'),
      notes.get(one.id) ?? (isUp(one) ? '-' : plain(one.healthNote) || '-'),
    ]);
    const more = unknown.length - ASKED_MAX;
    const rest = more > 0 ? `\nThe last probes of ${more} more are shown by: rollcall checks show ${service}/ID\n` : '';
    return head + (rows.length === 0 ? 'no instances\n' : table(['INSTANCE', 'HEALTH', 'CHECKS', 'NOTE'], rows)) + rest;
  });
}

/** A check in a few words. */
function wordsOf({ name, probe, interval, endpoint }: HealthCheck): string {
  const kind = probe?.$case ?? 'tcp';
  const path = probe?.$case === 'http' ? ` ${probe.value.path}` : '';
  const every = interval ? ` every ${fromDuration(interval) / 1_000} s` : '';
  return plain(`${name === kind ? '' : `${name}: `}${kind}${path}${endpoint === '' ? '' : ` at ${endpoint}`}${every}`);
}

/** Defines the check of a service. */
export async function setChecks(
  { client, show, namespace, signal, flags }: Session<CheckFlags & { comment?: string }>,
  service: string,
): Promise<void> {
  const check = checkOf(flags);
  if (!check) throw new CommandFailed('a check is one of --check-http, --check-tcp and --check-grpc', Exit.USAGE);
  const request = { namespace, service, checks: [check], comment: flags.comment ?? '' };
  const answer = await client.registry.setServiceChecks(request, { signal });
  await show(
    'registry.setServiceChecks',
    answer,
    () => `${service}: its instances without checks of their own are probed, revision ${answer.revision}\n`,
  );
}

/** Ends the checks of a service. */
export async function clearChecks(
  { client, show, namespace, signal, flags }: Session<{ comment?: string }>,
  service: string,
): Promise<void> {
  const request = { namespace, service, checks: [], comment: flags.comment ?? '' };
  const answer = await client.registry.setServiceChecks(request, { signal });
  await show('registry.setServiceChecks', answer, () => `${service} has no checks, revision ${answer.revision}\n`);
}

/** Releases the checks of an instance, of a service, or of all services of the namespace. */
export async function releaseChecks(
  { client, show, namespace, signal, flags: { comment, all } }: Session<{ comment: string; all?: true }>,
  name = '',
): Promise<void> {
  const { service, id } = serviceOrInstanceNamed(name);
  const isAll = all === true;
  if (isAll === (service !== ''))
    throw new CommandFailed(
      isAll ? 'give either a service or --all, not both' : 'name a service, or give --all',
      Exit.USAGE,
    );
  const request = { namespace, service, id, comment, allServices: isAll };
  const answer = await client.registry.releaseChecks(request, { signal });
  const counted = answer.released === 1 ? 'instance is' : 'instances are';
  await show(
    'registry.releaseChecks',
    answer,
    () => `${answer.released} ${counted} taken for passing until a check fails, revision ${answer.revision}\n`,
  );
}
