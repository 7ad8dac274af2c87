import type { Client } from '../../client/client.js';
import type { GetDeliveryResponse, Watcher } from '../../gen/rollcall/v1/admin_service.js';
import { fromDuration } from '../../model/time.js';
import { CommandFailed } from '../exits.js';
import { bytes, type Cell, counted, plain, span, table, warn } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, everyPage } from '../shown.js';

/** How often the servers are asked whether a change has been sent. */
const ASK_MS = 500;
/** How often a line says that it has not. */
const SAY_MS = 10_000;
/** The most watches that such a line names. */
const NAMED_MAX = 3;

/** Lists the open watches of a service, of a config, or of a namespace. */
export async function listWatchers(
  {
    client,
    show,
    namespace,
    signal,
    flags: { config: key = '', group = '' },
  }: Session<{ config?: string; group?: string }>,
  service = '',
): Promise<void> {
  const wanted = { namespace, service, group, key };
  const answer = await everyPage((page) => client.admin.listWatchers({ ...page, ...wanted }, { signal }), 'watchers');
  if (answer.unanswered.length > 0) warn(`these servers did not answer: ${answer.unanswered.join(', ')}`);
  await show('admin.listWatchers', answer, () =>
    table(
      ['NODE', 'READER', 'FROM', 'WATCHES', 'REVISION', 'LAG', 'UNSENT', 'SINCE'],
      answer.watchers.map((one): Cell[] => {
        const lagMs = one.lag ? fromDuration(one.lag) : 0;
        return [
          plain(one.node),
          plain(readerOf(one)),
          one.address,
          selectionOf(one),
          String(one.revision),
          lagMs > 0 ? { text: span(lagMs), color: 'yellow' } : '-',
          bytes(Number(one.unsentBytes)),
          agoOf(one.since),
        ];
      }),
    ),
  );
}

const readerOf = ({ identity, principal }: Watcher): string => {
  const name = [identity?.name, identity?.version, identity?.instanceId].filter(Boolean).join(' ');
  return [principal, name].filter(Boolean).join(', ') || '-';
};

const selectionOf = ({ services, groups, configs }: Watcher): string =>
  configs ? `configs of ${groups.join(', ') || 'all groups'}` : services.join(', ') || 'all services';

/** Waits until every watch of a service has been sent a revision. Throws CommandFailed if the command is ended before. */
export async function awaitDelivery(
  client: Client,
  request: { readonly namespace: string; readonly service: string; readonly revision: bigint },
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  let saidAtMs = performance.now();
  while (!signal.aborted) {
    const answer = await client.admin.getDelivery(request, { signal });
    if (answer.complete) {
      const watches = answer.servers.reduce((sum, one) => sum + one.watches, 0);
      say(`sent to ${counted(watches, 'reader')} on ${counted(answer.servers.length, 'server')}\n`);
      return;
    }
    if (performance.now() - saidAtMs >= SAY_MS) {
      saidAtMs = performance.now();
      warn(progressOf(answer));
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  }
  throw new CommandFailed('ended before every reader was sent the change');
}

function progressOf({ servers, unanswered }: GetDeliveryResponse): string {
  const sent = servers.reduce((sum, one) => sum + one.sent, 0);
  const all = servers.reduce((sum, one) => sum + one.watches, 0);
  const waiting = servers.flatMap((one) => one.waiting).slice(0, NAMED_MAX);
  const parts = [
    `sent to ${sent} of ${counted(all, 'reader')}`,
    ...waiting.map((one) => `waits for ${readerOf(one)} at ${one.address}, ${one.node}`),
    ...servers.filter((one) => !one.seen).map(({ node }) => `${node} has not seen it`),
    ...unanswered.map((node) => `${node} does not answer`),
  ];
  return parts.join('; ');
}
