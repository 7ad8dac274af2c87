import type { Instance } from '../gen/rollcall/v1/instance.js';
import { type Cell, plain, table } from './output.js';
import { agoOf, healthCell } from './shown.js';

/** Instances as a table. */
export function instanceTable(instances: readonly Instance[]): string {
  const rows = [...instances]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((instance): Cell[] => {
      const { id, address, port, version, tags, changeTime, reported } = instance;
      const note = reported?.note ? ` (${plain(reported.note)})` : '';
      const where = port === 0 ? address : `${address.includes(':') ? `[${address}]` : address}:${port}`;
      return [id, where, healthCell(instance, note), version || '-', tags.join(',') || '-', agoOf(changeTime)];
    });
  return table(['ID', 'ADDRESS', 'HEALTH', 'VERSION', 'TAGS', 'SINCE'], rows);
}
