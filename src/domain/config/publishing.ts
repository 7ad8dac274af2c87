import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import type { CounterBoard, Log } from '../../base/observe.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { StoreGate } from '../../catalog/store-gate.js';
import { RequestRecord } from '../../gen/rollcall/storage/v1/records.js';
import { Config, type ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { RollcallError } from '../../model/errors.js';
import { configKey, requestKey, versionKey } from '../../model/keys.js';
import { LIMITS } from '../../model/limits.js';
import { BadRecord, type ConfigItem, decode, readConfig, writeConfig } from '../../model/records.js';
import { toTimestamp } from '../../model/time.js';
import type { CommitResult, Compare, Entry, Revision, Write } from '../../store/store.js';
import { configNotFound, contentBytes, headBytes, withoutContent } from './content.js';
import type { Versions } from './versions.js';

/** How often a write that others keep overtaking is decided anew before the caller is told ABORTED. */
const WRITE_TRIES = 8;

/** What every write of configs says of itself. */
export interface WriteRequest {
  readonly namespace: string;
  readonly group: string;
  readonly author: string;
  readonly comment: string;
  /** Empty: a repeat is a new write. */
  readonly requestId: string;
}

/** A checked config to publish. */
export interface Draft {
  readonly key: string;
  readonly content: NonNullable<Config['content']>;
  readonly format: ConfigFormat;
  readonly labels: Map<string, string>;
  /** 0n: must not exist now. Undefined: whatever there is. */
  readonly expectedVersion: bigint | undefined;
}

/** What a write came to: the configs as they stand after it, with content, and the revision that shows them all. */
export interface Written {
  readonly configs: readonly Config[];
  readonly revision: Revision;
}

/** One key of a write: what is to stand there, given what stands there now; undefined: leave it. */
interface Step {
  readonly key: string;
  next(standing: ConfigItem | undefined): Partial<Config> | undefined;
}

/** Publishes, deletes and rolls back configs. Several keys are one transaction, and so one revision. */
export class Publishing {
  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly versions: Versions,
    private readonly clock: Clock,
    private readonly counters: CounterBoard,
    private readonly log: Log,
  ) {}

  publish(request: WriteRequest, drafts: readonly Draft[]): Promise<Written> {
    const steps = drafts.map((draft) => ({
      key: draft.key,
      next: (standing: ConfigItem | undefined) => {
        assertVersion(draft.key, standing, draft.expectedVersion);
        const { content, format, labels } = draft;
        return equals(standing, draft) ? undefined : { content, format, labels };
      },
    }));
    return this.#write(request, ['publish', drafts.map(fingerprintOf)], () => steps);
  }

  async delete(request: WriteRequest, key: string, expectedVersion: bigint | undefined): Promise<Written> {
    const next = (standing: ConfigItem | undefined): Partial<Config> => {
      assertVersion(key, standing, expectedVersion);
      if (!standing || standing.config.deleted) throw configNotFound(request.namespace, request.group, key);
      return { deleted: true, format: standing.config.format };
    };
    return this.#write(request, ['delete', key, String(expectedVersion)], () => [{ key, next }]);
  }

  async rollback(
    request: WriteRequest,
    key: string,
    version: bigint,
    expectedVersion: bigint | undefined,
  ): Promise<Written> {
    const comment = request.comment || `rollback to version ${version}`;
    const steps = async (): Promise<Step[]> => {
      const { deleted, content, format, labels } = await this.versions.get(
        request.namespace,
        request.group,
        key,
        version,
      );
      if (deleted || !content) {
        throw new RollcallError('VERSION_DELETED', `version ${version} of ${key} says that it was deleted`, {
          metadata: { key, version: String(version) },
        });
      }
      const next = (standing: ConfigItem | undefined): Partial<Config> | undefined => {
        assertVersion(key, standing, expectedVersion);
        return equals(standing, { content, format, labels }) ? undefined : { content, format, labels };
      };
      return [{ key, next }];
    };
    return this.#write({ ...request, comment }, ['rollback', key, String(version), String(expectedVersion)], steps);
  }

  /** `stepsOf` is asked only when no earlier request under this id was answered. */
  async #write(
    request: WriteRequest,
    parts: unknown[],
    stepsOf: () => readonly Step[] | Promise<readonly Step[]>,
  ): Promise<Written> {
    this.catalog.assertReady();
    const { namespace, group, requestId } = request;
    const fingerprint = createHash('sha256')
      .update(JSON.stringify([group, request.author, request.comment, parts]))
      .digest('base64url');
    const first = requestId && (await this.#firstAnswer(namespace, requestId, fingerprint));
    if (first) return first;
    const steps = await stepsOf();
    let standing = steps.map(({ key }) => placeOf(this.catalog.configs.get(namespace, group, key)));
    let confirmed = false;
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      let configs: (Config | undefined)[];
      try {
        configs = steps.map((step, i) => this.#decide(request, step, standing[i]!.item));
      } catch (error) {
        // What this catalog shows may be old; only the store may refuse.
        if (confirmed || !(error instanceof RollcallError)) throw error;
        standing = await Promise.all(steps.map(({ key }) => this.#read(configKey(namespace, group, key))));
        confirmed = true;
        continue;
      }
      const answered = configs.map((config, i) => config ?? standing[i]!.item!.config);
      const result = await this.#commit(request, fingerprint, steps, standing, configs, answered);
      if (result.ok) return await this.#done(configs, answered, result.revision);
      if (requestId && result.found[steps.length]) {
        const repeated = await this.#firstAnswer(namespace, requestId, fingerprint);
        if (repeated) return repeated;
      }
      standing = steps.map((_, i) => readPlace(result.found[i]));
      confirmed = true;
    }
    throw new RollcallError(
      'WRITE_CONFLICT',
      `others keep writing these configs of group ${group}; nothing was written`,
    );
  }

  /** The config that a step makes of what stands there; undefined: nothing. */
  #decide(request: WriteRequest, step: Step, standing: ConfigItem | undefined): Config | undefined {
    const next = step.next(standing);
    if (!next) return undefined;
    const bytes = contentBytes(next.content);
    const config = Config.fromPartial({
      ...next,
      namespace: request.namespace,
      group: request.group,
      key: step.key,
      version: (standing?.config.version ?? 0n) + 1n,
      sha256: next.deleted ? '' : createHash('sha256').update(bytes).digest('hex'),
      size: bytes.length,
      author: request.author,
      comment: request.comment,
      publishTime: toTimestamp(this.clock.wall()),
    });
    this.#assertRoom(standing, bytes.length + headBytes(config));
    return config;
  }

  #assertRoom(standing: ConfigItem | undefined, bytes: number): void {
    const { configs, configBytes } = this.catalog;
    const count = configs.liveCount + configs.tombstoneCount;
    if (!standing && count >= LIMITS.CONFIGS.value) {
      throw new RollcallError('TOO_MANY_CONFIGS', `the server holds ${count} configs already, removed ones included`);
    }
    if (configBytes - (standing?.bytes ?? 0) + bytes > LIMITS.CONFIG_MEMORY_BYTES.value) {
      throw new RollcallError('TOO_MANY_CONFIGS', `the server holds ${configBytes} bytes of configs already`);
    }
  }

  #commit(
    { namespace, group, requestId }: WriteRequest,
    fingerprint: string,
    steps: readonly Step[],
    standing: readonly Place[],
    configs: readonly (Config | undefined)[],
    answered: readonly Config[],
  ): Promise<CommitResult> {
    const writeId = this.store.writeId();
    const compares: Compare[] = steps.map(({ key }, i) => ({
      key: configKey(namespace, group, key),
      modRevision: standing[i]!.modRevision,
    }));
    const writes: Write[] = configs.flatMap((config): Write[] => {
      if (!config) return [];
      const value = writeConfig(writeId, config);
      return [
        { kind: 'put', key: configKey(namespace, group, config.key), value },
        { kind: 'put', key: versionKey(namespace, group, config.key, config.version), value },
      ];
    });
    if (requestId) {
      const key = requestKey(namespace, requestId);
      compares.push({ key, modRevision: 0n });
      const record = {
        writeId,
        fingerprint,
        configs: answered.map(withoutContent),
        time: toTimestamp(this.clock.wall()),
      };
      writes.push({ kind: 'put', key, value: RequestRecord.encode(record).finish() });
    }
    return this.store.commit({ writeId, compares, writes });
  }

  async #done(
    configs: readonly (Config | undefined)[],
    answered: readonly Config[],
    revision: Revision,
  ): Promise<Written> {
    const written = configs.filter((config) => config !== undefined);
    this.counters.add('publishes', written.length);
    if (written.length > 0) await this.store.visible(revision);
    this.#dropOldVersions(written);
    return answerOf(answered, revision);
  }

  /** Each new version pushes one out. If that fails the old one only takes room: it is not shown any more. */
  #dropOldVersions(written: readonly Config[]): void {
    const writes = written.flatMap(({ namespace, group, key, version }): Write[] => {
      const old = version - BigInt(LIMITS.CONFIG_VERSIONS.value);
      return old > 0n ? [{ kind: 'delete', key: versionKey(namespace, group, key, old) }] : [];
    });
    if (writes.length === 0) return;
    this.store
      .commit({ writeId: this.store.writeId(), compares: [], writes })
      .catch((err: unknown) => this.log.warn({ err }, 'old config versions were not dropped'));
  }

  /** What an earlier request under this id was answered. */
  async #firstAnswer(namespace: string, requestId: string, fingerprint: string): Promise<Written | undefined> {
    const key = requestKey(namespace, requestId);
    const { entry } = await this.store.get(key);
    if (!entry) return undefined;
    const record = decode(key, entry.value, RequestRecord);
    if (record.fingerprint !== fingerprint) {
      throw new RollcallError('REQUEST_ID_REUSED', `request_id "${requestId}" names another request`, {
        violations: [{ field: 'request_id', description: 'names another request' }],
      });
    }
    return answerOf(record.configs, entry.modRevision);
  }

  async #read(key: string): Promise<Place> {
    return readPlace((await this.store.get(key)).entry);
  }
}

/**
 * The answer to a write: the newest revision of its configs shows them all. Where all of them stood already that is not
 * the revision of the commit, which may have written nothing but the request, and so nothing that a catalog sees.
 */
function answerOf(answered: readonly Config[], committed: Revision): Written {
  const configs = answered.map((config) => (config.revision === 0n ? { ...config, revision: committed } : config));
  return { configs, revision: configs.reduce((newest, { revision }) => (revision > newest ? revision : newest), 0n) };
}

/** What stands at a key. */
interface Place {
  readonly item: ConfigItem | undefined;
  /** What a write compares; 0n: nothing stands there. */
  readonly modRevision: Revision;
}

const placeOf = (item: ConfigItem | undefined): Place => ({ item, modRevision: item?.modRevision ?? 0n });

/** A record that cannot be read is as good as none: a publish replaces it. */
function readPlace(entry: Entry | undefined): Place {
  if (!entry) return placeOf(undefined);
  try {
    return placeOf(readConfig(entry.key, entry.value, entry.modRevision));
  } catch (error) {
    if (!(error instanceof BadRecord)) throw error;
    return { item: undefined, modRevision: entry.modRevision };
  }
}

function assertVersion(key: string, standing: ConfigItem | undefined, expected: bigint | undefined): void {
  const version = standing && !standing.config.deleted ? standing.config.version : 0n;
  if (expected === undefined || expected === version) return;
  const is = version === 0n ? 'does not exist' : `is at version ${version}`;
  throw new RollcallError('VERSION_MISMATCH', `config ${key} ${is}, not at ${expected}`, {
    metadata: { key, version: String(version), expected_version: String(expected) },
  });
}

function equals(
  standing: ConfigItem | undefined,
  { content, format, labels }: Pick<Draft, 'content' | 'format' | 'labels'>,
): boolean {
  if (!standing || standing.config.deleted || standing.config.format !== format) return false;
  const before = standing.config.labels;
  const sameLabels = before.size === labels.size && [...labels].every(([key, value]) => before.get(key) === value);
  return sameLabels && contentBytes(standing.config.content).equals(contentBytes(content));
}

function fingerprintOf({ key, content, format, labels, expectedVersion }: Draft): unknown {
  const sha256 = createHash('sha256').update(contentBytes(content)).digest('base64url');
  return [key, sha256, format, [...labels].sort(), String(expectedVersion)];
}
