import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import type { CounterBoard, Log } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import { Config, type ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { configKey, type ConfigItem, readConfig, versionKey, writeConfig } from '../../model/config.js';
import { RollcallError } from '../../model/errors.js';
import { ifReadable } from '../../model/item.js';
import { LIMITS } from '../../model/limits.js';
import { toTimestamp } from '../../model/time.js';
import type { CommitResult, Compare, Entry, Revision, Write } from '../../store/store.js';
import { configNotFound, contentBytes, headBytes } from './content.js';
import { answerOf, fingerprintOf, Idempotency, type Repeatable, type Written } from './idempotency.js';
import type { Versions } from './versions.js';
import { COUNTERS } from './instruments.js';

/** The fields that every write of configs carries. */
export interface WriteRequest {
  readonly namespace: string;
  readonly group: string;
  readonly author: string;
  readonly comment: string;
  /** Empty if the caller gave none: a repeat is then a new write. */
  readonly requestId: string;
}

/** A checked config to publish. */
export interface Draft {
  readonly key: string;
  readonly content: NonNullable<Config['content']>;
  readonly format: ConfigFormat;
  readonly labels: Map<string, string>;
  /** 0n: the config must not exist now. `undefined`: any version may exist. */
  readonly expectedVersion: bigint | undefined;
}

/** One key of a write. `next` makes the new config from the current one; `undefined` leaves it unchanged. */
interface Step {
  readonly key: string;
  next(current: ConfigItem | undefined): Partial<Config> | undefined;
}

/** The current record at a key. */
interface Place {
  readonly item: ConfigItem | undefined;
  /** The mod revision that a write compares; 0n if there is no record. */
  readonly modRevision: Revision;
}

/** A write that has been decided on the current records. */
interface Decision {
  readonly places: readonly Place[];
  /** The new config of each step; `undefined` if it stays unchanged. */
  readonly configs: readonly (Config | undefined)[];
  /** The config of each step after the write. */
  readonly answered: readonly Config[];
}

/** The dependencies of Publishing. */
export interface PublishingParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly versions: Versions;
  readonly clock: Clock;
  readonly counters: CounterBoard;
  readonly log: Log;
}

/** Publishes, deletes and rolls back configs. Several keys are one transaction, and so one revision. */
export class Publishing {
  readonly #idempotency: Idempotency;

  constructor(private readonly parts: PublishingParts) {
    this.#idempotency = new Idempotency(parts.commits);
  }

  publish(request: WriteRequest, drafts: readonly Draft[]): Promise<Written> {
    const steps = drafts.map((draft) => ({
      key: draft.key,
      next: (current: ConfigItem | undefined) => {
        assertVersion(draft.key, current, draft.expectedVersion);
        const { content, format, labels } = draft;
        return equals(current, draft) ? undefined : { content, format, labels };
      },
    }));
    return this.#write(request, ['publish', drafts.map(contentOf)], () => steps);
  }

  async delete(request: WriteRequest, key: string, expectedVersion: bigint | undefined): Promise<Written> {
    const next = (current: ConfigItem | undefined): Partial<Config> => {
      assertVersion(key, current, expectedVersion);
      if (!current || current.config.deleted) throw configNotFound(request.namespace, request.group, key);
      return { deleted: true, format: current.config.format };
    };
    return this.#write(request, ['delete', key, String(expectedVersion)], () => [{ key, next }]);
  }

  async rollback(
    request: WriteRequest,
    key: string,
    version: bigint,
    expectedVersion: bigint | undefined,
  ): Promise<Written> {
    const { namespace, group } = request;
    const comment = request.comment || `rollback to version ${version}`;
    const steps = async (): Promise<Step[]> => {
      const old = await this.parts.versions.get(namespace, group, key, version);
      const { content, format, labels } = old;
      if (old.deleted || !content) throw versionDeleted(key, version);
      const next = (current: ConfigItem | undefined): Partial<Config> | undefined => {
        assertVersion(key, current, expectedVersion);
        return equals(current, { content, format, labels }) ? undefined : { content, format, labels };
      };
      return [{ key, next }];
    };
    return this.#write({ ...request, comment }, ['rollback', key, String(version), String(expectedVersion)], steps);
  }

  /** `stepsOf` is called only if no earlier request under this id was answered. */
  async #write(
    request: WriteRequest,
    content: unknown[],
    stepsOf: () => readonly Step[] | Promise<readonly Step[]>,
  ): Promise<Written> {
    const { catalog, commits } = this.parts;
    catalog.assertReady();
    const { namespace, group, author, comment, requestId } = request;
    const repeatable = { namespace, requestId, fingerprint: fingerprintOf([group, author, comment, content]) };
    const first = await this.#idempotency.firstAnswer(repeatable);
    if (first) return first;
    const steps = await stepsOf();
    let places = steps.map(({ key }) => placeOf(catalog.configs.get(namespace, group, key)));
    let confirmed = false;
    return commits.retrying(`these configs of group ${group}`, async (): Promise<Attempt<Written>> => {
      let decision: Decision;
      try {
        decision = this.#decide(request, steps, places);
      } catch (error) {
        // The catalog may be behind the store, so a refusal must rest on a record that was read from the store.
        if (confirmed || !(error instanceof RollcallError)) throw error;
        places = await Promise.all(steps.map(({ key }) => this.#read(configKey(namespace, group, key))));
        confirmed = true;
        return { retry: true };
      }
      const result = await this.#commit(request, repeatable, steps, decision);
      if (result.ok) return { done: await this.#done(decision, result.revision) };
      if (result.found[steps.length]) {
        const repeated = await this.#idempotency.firstAnswer(repeatable);
        if (repeated) return { done: repeated };
      }
      places = steps.map((_, i) => readPlace(result.found[i]));
      confirmed = true;
      return { retry: true };
    });
  }

  #decide(request: WriteRequest, steps: readonly Step[], places: readonly Place[]): Decision {
    const configs = steps.map((step, i) => this.#configOf(request, step, places[i]!.item));
    const answered = configs.map((config, i) => config ?? places[i]!.item!.config);
    return { places, configs, answered };
  }

  /** The config that a step makes of the current one; `undefined` if it stays unchanged. */
  #configOf(request: WriteRequest, step: Step, current: ConfigItem | undefined): Config | undefined {
    const next = step.next(current);
    if (!next) return undefined;
    const bytes = contentBytes(next.content);
    const config = Config.fromPartial({
      ...next,
      namespace: request.namespace,
      group: request.group,
      key: step.key,
      version: (current?.config.version ?? 0n) + 1n,
      sha256: next.deleted ? '' : createHash('sha256').update(bytes).digest('hex'),
      size: bytes.length,
      author: request.author,
      comment: request.comment,
      publishTime: toTimestamp(this.parts.clock.wall()),
    });
    this.#assertRoom(current, bytes.length + headBytes(config));
    return config;
  }

  #assertRoom(current: ConfigItem | undefined, bytes: number): void {
    const { configs } = this.parts.catalog;
    const count = configs.liveCount + configs.tombstoneCount;
    if (!current && count >= LIMITS.CONFIGS.value) {
      throw new RollcallError('TOO_MANY_CONFIGS', `the server holds ${count} configs already, deleted ones included`);
    }
    if (configs.bytes - (current?.bytes ?? 0) + bytes > LIMITS.CONFIG_MEMORY_BYTES.value) {
      throw new RollcallError('TOO_MANY_CONFIGS', `the server is full: it holds ${configs.bytes} bytes of configs`);
    }
  }

  #commit(
    { namespace, group }: WriteRequest,
    repeatable: Repeatable,
    steps: readonly Step[],
    { places, configs, answered }: Decision,
  ): Promise<CommitResult> {
    const { commits } = this.parts;
    const stamp = commits.stamp();
    const { writeId } = stamp;
    const compares: Compare[] = steps.map(({ key }, i) => ({
      key: configKey(namespace, group, key),
      modRevision: places[i]!.modRevision,
    }));
    const writes: Write[] = configs.flatMap((config): Write[] => {
      if (!config) return [];
      const value = writeConfig(writeId, config);
      return [
        { kind: 'put', key: configKey(namespace, group, config.key), value },
        { kind: 'put', key: versionKey(namespace, group, config.key, config.version), value },
      ];
    });
    const record = this.#idempotency.recordOf(repeatable, stamp, answered);
    return commits.commit({
      writeId,
      compares: [...compares, ...record.compares],
      writes: [...writes, ...record.writes],
    });
  }

  async #done({ configs, answered }: Decision, revision: Revision): Promise<Written> {
    const { commits, counters } = this.parts;
    const written = configs.filter((config) => config !== undefined);
    counters.add(COUNTERS.publishes, written.length);
    if (written.length > 0) await commits.visible(revision);
    this.#dropOldVersions(written);
    return answerOf(answered, revision);
  }

  /** Deletes the versions that leave the retention window. A failure only wastes space: they are hidden already. */
  #dropOldVersions(written: readonly Config[]): void {
    const { commits, log } = this.parts;
    const writes = written.flatMap(({ namespace, group, key, version }): Write[] => {
      const old = version - BigInt(LIMITS.CONFIG_VERSIONS.value);
      return old > 0n ? [{ kind: 'delete', key: versionKey(namespace, group, key, old) }] : [];
    });
    if (writes.length === 0) return;
    commits
      .commit({ writeId: commits.writeId(), compares: [], writes })
      .catch((err: unknown) => log.warn({ err }, 'old config versions could not be deleted; they still use space'));
  }

  async #read(key: string): Promise<Place> {
    return readPlace((await this.parts.commits.get(key)).entry);
  }
}

const placeOf = (item: ConfigItem | undefined): Place => ({ item, modRevision: item?.modRevision ?? 0n });

/** A record that cannot be read counts as none: a publish replaces it. */
function readPlace(entry: Entry | undefined): Place {
  if (!entry) return placeOf(undefined);
  return { item: ifReadable(() => readConfig(entry)), modRevision: entry.modRevision };
}

function assertVersion(key: string, current: ConfigItem | undefined, expected: bigint | undefined): void {
  const version = current && !current.config.deleted ? current.config.version : 0n;
  if (expected === undefined || expected === version) return;
  const is = version === 0n ? 'does not exist' : `is at version ${version}`;
  throw new RollcallError('VERSION_MISMATCH', `config ${key} ${is}; expected_version is ${expected}`, {
    metadata: { key, version: String(version), expected_version: String(expected) },
  });
}

function versionDeleted(key: string, version: bigint): RollcallError {
  return new RollcallError('VERSION_DELETED', `version ${version} of ${key} records a deletion and has no content`, {
    metadata: { key, version: String(version) },
  });
}

function equals(
  current: ConfigItem | undefined,
  { content, format, labels }: Pick<Draft, 'content' | 'format' | 'labels'>,
): boolean {
  if (!current || current.config.deleted || current.config.format !== format) return false;
  const before = current.config.labels;
  const sameLabels = before.size === labels.size && [...labels].every(([key, value]) => before.get(key) === value);
  return sameLabels && contentBytes(current.config.content).equals(contentBytes(content));
}

/** The part of a draft that its fingerprint covers. */
function contentOf({ key, content, format, labels, expectedVersion }: Draft): unknown {
  const sha256 = createHash('sha256').update(contentBytes(content)).digest('base64url');
  return [key, sha256, format, [...labels].sort(), String(expectedVersion)];
}
