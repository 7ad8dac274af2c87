import type { Clock } from '../../base/clock.js';
import type { Catalog } from '../../catalog/catalog.js';
import { firstOf, page, type Page } from '../../catalog/paging.js';
import type { Commits } from '../../catalog/commits.js';
import type { Config } from '../../gen/rollcall/v1/config.js';
import { type ConfigItem, readConfig, versionKey, versionsPrefix } from '../../model/config.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import { DAY_MS } from '../../model/time.js';
import { compareKeys, prefixRange } from '../../store/store.js';
import { configNotFound, headBytes, publishedAtMs, withoutContent } from './content.js';

/** Reads configs: current ones from memory, older versions from the store. */
export class Versions {
  constructor(
    private readonly catalog: Catalog,
    private readonly commits: Commits,
    private readonly clock: Clock,
  ) {}

  /** The current version. */
  current(namespace: string, group: string, key: string): Config {
    const item = this.catalog.configs.get(namespace, group, key);
    if (!item || item.config.deleted) throw configNotFound(namespace, group, key);
    return item.config;
  }

  /** One version. Throws VERSION_NOT_FOUND if it is no longer kept. */
  async get(namespace: string, group: string, key: string, version: bigint): Promise<Config> {
    const head = this.catalog.configs.get(namespace, group, key);
    if (head?.config.version === version) return head.config;
    const { entry } = await this.commits.get(versionKey(namespace, group, key, version));
    const config = entry && readConfig(entry).config;
    if (config && this.#isKept(config, head?.config)) return config;
    if (!head && !config) throw configNotFound(namespace, group, key);
    const metadata = { namespace, group, key, version: String(version) };
    throw new RollcallError('VERSION_NOT_FOUND', `config ${key} has no version ${version}, or no longer keeps it`, {
      metadata,
    });
  }

  /** The kept versions, newest first, without content. `before` 0n: from the newest. */
  async list(namespace: string, group: string, key: string, size: number, before: bigint): Promise<Page<Config>> {
    const head = this.catalog.configs.get(namespace, group, key);
    const entries = await this.commits.list(prefixRange(versionsPrefix(namespace, group, key)));
    const kept = entries
      .map((entry) => readConfig(entry).config)
      .filter((config) => this.#isKept(config, head?.config) && (before === 0n || config.version < before))
      .reverse();
    if (kept.length === 0 && !head) throw configNotFound(namespace, group, key);
    return firstOf(kept, size, ({ version }) => String(version), withoutContent, headBytes);
  }

  /** The configs of a namespace, by group and key, without content. `after` names the last entry of the page before. */
  heads(namespace: string, group: string, prefix: string, size: number, after: string): Page<Config> {
    const all: ConfigItem[] = [];
    for (const { value: scope } of this.catalog.configs.namespace(namespace)?.scopes.values() ?? []) {
      if (group && scope.name !== group) continue;
      for (const item of scope.live()) if (item.name.startsWith(prefix)) all.push(item);
    }
    // A NUL is in no name and comes before every other character: groups stay together, in their own order.
    const place = ({ scope, name }: ConfigItem): string => `${scope}\0${name}`;
    return page(
      all.filter((item) => compareKeys(place(item), after) > 0),
      size,
      place,
      ({ config }) => withoutContent(config),
      ({ config }) => headBytes(config),
    );
  }

  #isKept(config: Config, head: Config | undefined): boolean {
    if (!head || config.version === head.version) return true;
    const youngest = head.version - BigInt(LIMITS.CONFIG_VERSIONS.value);
    return (
      config.version > youngest && publishedAtMs(config) > this.clock.wall() - LIMITS.CONFIG_VERSION_DAYS.value * DAY_MS
    );
  }
}
