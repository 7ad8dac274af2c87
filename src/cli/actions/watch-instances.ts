import { type Instance, type InstanceFilter, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { WatchServicesRequest } from '../../gen/rollcall/v1/registry_service.js';
import { instanceTable } from '../instance-table.js';
import { plain } from '../output.js';
import { printWatch } from './print-watch.js';
import type { Session } from '../session.js';
import { stateOf } from '../shown.js';

/** Prints the instances of services, and each change of them, until the command is ended. */
export async function watchInstances(
  session: Session<unknown>,
  services: readonly string[],
  filter: Partial<InstanceFilter>,
): Promise<void> {
  const { client, namespace, signal } = session;
  const known = new Map<string, Instance>();
  const request = WatchServicesRequest.fromPartial({ namespace, services: [...services], filter });
  const open = (resumeToken: string) => client.registry.watchServices({ ...request, resumeToken }, { signal });
  await printWatch(session, 'registry.watchServices', open, ({ kind, messages }) => {
    const lines: string[] = [];
    const gone = kind === 'snapshot' ? new Map(known) : new Map<string, Instance>();
    if (kind === 'snapshot') known.clear();
    const isFirst = kind === 'snapshot' && gone.size === 0;
    for (const { upserted, removed } of messages) {
      for (const instance of upserted) {
        const key = `${instance.service}/${instance.id}`;
        const before = known.get(key) ?? gone.get(key);
        gone.delete(key);
        known.set(key, instance);
        if (!isFirst && before?.revision !== instance.revision) lines.push(changeOf(before, instance));
      }
      for (const { service, id, reason } of removed) {
        known.delete(`${service}/${id}`);
        lines.push(`- ${service}/${id}  ${(RemovalReason[reason] ?? '').replace('REMOVAL_REASON_', '')}`);
      }
    }
    for (const key of gone.keys()) lines.push(`- ${key}  gone`);
    return { lines, ...(isFirst && { table: instanceTable([...known.values()]) }) };
  });
}

/** A change of an instance, in one line. */
function changeOf(before: Instance | undefined, after: Instance): string {
  const { service, id, address, port, reported } = after;
  const note = reported?.note ? ` (${plain(reported.note)})` : '';
  const name = `${service}/${id}`;
  if (!before) return `+ ${name}  ${stateOf(after)}  ${address}:${port}${note}`;
  const [was, is] = [stateOf(before), stateOf(after)];
  return was === is ? `~ ${name}  changed, ${is}${note}` : `~ ${name}  ${was} -> ${is}${note}`;
}
