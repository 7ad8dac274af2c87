import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import type { CounterBoard } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import { Config, type ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { configKey, type ConfigItem, readConfig, versionKey, writeConfig } from '../../model/config.js';
import { encodeHistory, historyAfter, type NextHistory } from '../../model/config-history.js';
import { RollcallError } from '../../model/errors.js';
import { ifReadable } from '../../model/item.js';
import { LIMITS } from '../../model/limits.js';
import { toTimestamp } from '../../model/time.js';
import {
  type CommitResult,
  type Compare,
  type Entry,
  type Revision,
  TXN_WRITES_MAX,
  type Write,
} from '../../store/store.js';
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
  /** The name of the caller; empty if it showed no credential. */
  readonly principal: string;
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

/** The new record of a step, and the history that it carries. */
interface Change {
  readonly config: Config;
  readonly history: NextHistory;
}

/** A write that has been decided on the current records. */
interface Decision {
  readonly places: readonly Place[];
  /** The change of each step; `undefined` if the config stays unchanged. */
  readonly changes: readonly (Change | undefined)[];
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
}

/** Publishes, deletes and rolls back configs. Several keys are one transaction, and so one revision. */
export class Publishing {
  readonly #idempotency: Idempotency;

  constructor(private readonly parts: PublishingParts) {
    this.#idempotency = new Idempotency(parts.commits);
  }

  publish(request: WriteRequest, drafts: readonly Draft[]): Promise<Written> {
    return this.#write(request, ['publish', drafts.map(contentOf)], () => drafts.map(stepOf));
  }

  /** The configs as `publish` would leave them now. Throws what it would throw, and writes nothing. */
  async validate(request: WriteRequest, drafts: readonly Draft[]): Promise<readonly Config[]> {
    this.parts.catalog.assertReady();
    const steps = drafts.map(stepOf);
    const places = await this.#readAll(request, steps);
    return this.#decide(request, steps, places).answered;
  }

  async delete(request: WriteRequest, key: string, expectedVersion: bigint | undefined): Promise<Written> {
    const next = (current: ConfigItem | undefined): Partial<Config> => {
      assertVersion(key, current, expectedVersion);
      if (!current || current.config.deleted) {
        throw configNotFound(request.namespace, request.group, key, current?.config);
      }
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
    const { namespace, group, author, comment, principal, requestId } = request;
    const repeatable = {
      namespace,
      principal,
      requestId,
      fingerprint: fingerprintOf([group, author, comment, content]),
    };
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
        places = await this.#readAll(request, steps);
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
    const changes = steps.map((step, i) => this.#changeOf(request, step, places[i]!.item));
    const answered = changes.map((change, i) => change?.config ?? places[i]!.item!.config);
    return { places, changes, answered };
  }

  /** The change that a step makes to the current config; `undefined` if it stays unchanged. */
  #changeOf(request: WriteRequest, step: Step, current: ConfigItem | undefined): Change | undefined {
    const next = step.next(current);
    if (!next) return undefined;
    const bytes = contentBytes(next.content);
    const wallMs = this.parts.clock.wall();
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
      publishTime: toTimestamp(wallMs),
    });
    this.#assertRoom(current, bytes.length + headBytes(config));
    return { config, history: historyAfter(current, config.author, wallMs) };
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
    { places, changes, answered }: Decision,
  ): Promise<CommitResult> {
    const { commits } = this.parts;
    const stamp = commits.stamp();
    const { writeId } = stamp;
    const compares: Compare[] = steps.map(({ key }, i) => ({
      key: configKey(namespace, group, key),
      modRevision: places[i]!.modRevision,
    }));
    const record = this.#idempotency.recordOf(repeatable, stamp, answered);
    // Each change has its share of the deletions that fit, at least one, so that none of them only grows.
    let left = changes.filter((change) => change !== undefined).length;
    let room = TXN_WRITES_MAX - 2 * left - record.writes.length;
    const writes = changes.flatMap((change): Write[] => {
      if (!change) return [];
      const { config, history } = change;
      const outdated = history.outdated.slice(0, Math.floor(room / left--));
      room -= outdated.length;
      const undeleted = history.outdated.slice(outdated.length);
      const value = writeConfig(writeId, config, encodeHistory(history.versions, undeleted));
      const keyOf = (version: bigint): string => versionKey(namespace, group, config.key, version);
      return [
        { kind: 'put', key: configKey(namespace, group, config.key), value },
        { kind: 'put', key: keyOf(config.version), value: writeConfig(writeId, config) },
        ...outdated.map((version): Write => ({ kind: 'delete', key: keyOf(version) })),
      ];
    });
    return commits.commit({
      writeId,
      compares: [...compares, ...record.compares],
      writes: [...writes, ...record.writes],
    });
  }

  async #done({ changes, answered }: Decision, revision: Revision): Promise<Written> {
    const { commits, counters } = this.parts;
    const written = changes.filter((change) => change !== undefined).length;
    counters.add(COUNTERS.publishes, written);
    if (written > 0) await commits.visible(revision);
    return answerOf(answered, revision);
  }

  #readAll({ namespace, group }: WriteRequest, steps: readonly Step[]): Promise<Place[]> {
    const { commits } = this.parts;
    return Promise.all(
      steps.map(async ({ key }) => readPlace((await commits.get(configKey(namespace, group, key))).entry)),
    );
  }
}

/** The step that publishes a draft. */
function stepOf(draft: Draft): Step {
  const { key, content, format, labels, expectedVersion } = draft;
  return {
    key,
    next: (current) => {
      assertVersion(key, current, expectedVersion);
      return equals(current, draft) ? undefined : { content, format, labels };
    },
  };
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
