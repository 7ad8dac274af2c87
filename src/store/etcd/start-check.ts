import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import type { Log } from '../../base/telemetry.js';
import type { EtcdConnection, Endpoints } from './endpoints.js';
import type { Kv } from './kv.js';
import { faultsOfVersion } from './versions.js';

/** How long one call of the check may take. */
const ASK_MS = 2_000;
/** A history with at least this many revisions that was never compacted has no auto-compaction. */
const UNCOMPACTED_REVISIONS = 10_000;
/** The share of its quota from which on etcd is nearly full. */
const NEARLY_FULL = 0.8;
/** The most bytes of an answer with metrics. Those of etcd are some hundred kB; a longer answer is something else. */
const METRICS_BYTES_MAX = 4 * 1_024 * 1_024;

/** Checks the setup of etcd once, and warns of problems that will show later: version, quota, alarms, compaction. */
export async function checkEtcd(endpoints: Endpoints, kv: Kv, connection: EtcdConnection, log: Log): Promise<void> {
  const [statuses, alarms] = await Promise.all([
    endpoints.each(
      (etcd, url, options) => etcd.maintenance.status(options).then((status) => ({ url, status })),
      ASK_MS,
    ),
    endpoints.each((etcd, _, options) => etcd.maintenance.alarm({ action: 'Get' }, options), ASK_MS),
  ]);
  for (const found of statuses) {
    if (!found) continue;
    const { version, dbSize } = found.status;
    log.info({ endpoint: found.url, version, dbBytes: Number(dbSize) }, 'etcd answers');
    for (const fault of faultsOfVersion(version, hasUsers(connection)))
      log.warn({ endpoint: found.url, version }, `this version of etcd has known faults, upgrade it: ${fault}`);
    await checkQuota(found.url, Number(dbSize), connection, log);
  }
  const raised = alarms.find((answer) => answer !== undefined)?.alarms ?? [];
  for (const { alarm, memberID } of raised)
    log.warn({ alarm, member: memberID }, 'etcd has raised an alarm of its own: see "etcdctl alarm list"');
  await checkCompaction(kv, log);
}

/** Returns true if etcd knows its clients, so that others may use it under names of their own. */
const hasUsers = ({ user, tls }: EtcdConnection): boolean => user !== undefined || tls?.contents().cert !== undefined;

/**
 * Warns if etcd has no auto-compaction. etcd does not show its settings, but a long history that still holds its first
 * revision was never compacted.
 */
async function checkCompaction(kv: Kv, log: Log): Promise<void> {
  if (kv.newest < UNCOMPACTED_REVISIONS) return;
  try {
    await kv.range({ key: Buffer.from('x'), revision: '1', count_only: true });
  } catch {
    return; // the history was compacted
  }
  log.warn(
    { revisions: Number(kv.newest) },
    'the history of etcd was never compacted and will fill its quota: start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=1h',
  );
}

async function checkQuota(url: string, dbBytes: number, connection: EtcdConnection, log: Log): Promise<void> {
  const metrics = await readMetrics(url, connection).catch(() => '');
  const quota = Number(/^etcd_server_quota_backend_bytes (\S+)$/m.exec(metrics)?.[1] ?? NaN);
  if (Number.isNaN(quota))
    return log.info({ endpoint: url }, 'the quota of etcd is unknown: its metrics cannot be read');
  if (dbBytes < NEARLY_FULL * quota) return;
  log.warn(
    { endpoint: url, dbBytes, quotaBytes: quota },
    'etcd is nearly full and will refuse writes: compact and defragment it, or raise --quota-backend-bytes',
  );
}

function readMetrics(url: string, { tls }: EtcdConnection): Promise<string> {
  const get = url.startsWith('https:') ? httpsGet : httpGet;
  return new Promise((resolve, reject) => {
    const request = get(`${url}/metrics`, { ...tls?.contents(), timeout: ASK_MS, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
        if (text.length > METRICS_BYTES_MAX) response.destroy(new Error('the metrics are too long'));
      });
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
  });
}
