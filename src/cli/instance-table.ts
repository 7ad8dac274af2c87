import type { Instance } from '../gen/rollcall/v1/instance.js';
import { type Cell, plain, table } from './output.js';
import { agoOf, healthCell } from './shown.js';

/** Instances as a table, in their order if they are of several services; otherwise by id. */
export function instanceTable(instances: readonly Instance[], ofSeveral = false): string {
  const sorted = ofSeveral ? instances : [...instances].sort((a, b) => (a.id < b.id ? -1 : 1));
  const rows = sorted.map((instance): Cell[] => {
    const { service, id, address, port, version, tags, changeTime, reported } = instance;
    const note = reported?.note ? ` (${plain(reported.note)})` : '';
    const where = port === 0 ? address : `${address.includes(':') ? `[${address}]` : address}:${port}`;
    return [
      ofSeveral ? `${service}/${id}` : id,
      where,
      healthCell(instance, note),
      version || '-',
      tags.join(',') || '-',
      agoOf(changeTime),
    ];
  });
  return table([ofSeveral ? 'INSTANCE' : 'ID', 'ADDRESS', 'HEALTH', 'VERSION', 'TAGS', 'SINCE'], rows);
}
