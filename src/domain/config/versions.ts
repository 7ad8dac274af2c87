import type { Clock } from '../../base/clock.js';
import type { Catalog } from '../../catalog/catalog.js';
import { firstOf, page, type Page } from '../../catalog/paging.js';
import type { Commits } from '../../catalog/commits.js';
import type { Config } from '../../gen/rollcall/v1/config.js';
import { type ConfigItem, readConfig, versionKey } from '../../model/config.js';
import { keptVersions } from '../../model/config-history.js';
import { RollcallError } from '../../model/errors.js';
import { compareKeys } from '../../store/store.js';
import { configNotFound, headBytes, withoutContent } from './content.js';

/** Versions that a list reads at once: one may be 512 KiB. */
const READ_AT_ONCE = 8;

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
    if (!item || item.config.deleted) throw configNotFound(namespace, group, key, item?.config);
    return item.config;
  }

  /** One version. Throws VERSION_NOT_FOUND if it is no longer kept. */
  async get(namespace: string, group: string, key: string, version: bigint): Promise<Config> {
    const head = this.catalog.configs.get(namespace, group, key);
    const config = this.#mayBeKept(version, head) ? await this.#read(namespace, group, key, version) : undefined;
    if (config) return config;
    if (!head) throw configNotFound(namespace, group, key);
    const metadata = { namespace, group, key, version: String(version) };
    throw new RollcallError('VERSION_NOT_FOUND', `config ${key} has no version ${version}, or no longer keeps it`, {
      metadata,
    });
  }

  /** The kept versions, newest first, without content. `before` 0n: from the newest. */
  async list(namespace: string, group: string, key: string, size: number, before: bigint): Promise<Page<Config>> {
    const head = this.catalog.configs.get(namespace, group, key);
    if (!head) throw configNotFound(namespace, group, key);
    const numbers = [head.config.version, ...keptVersions(head, this.clock.wall())].filter(
      (version) => before === 0n || version < before,
    );
    const read: Config[] = [];
    // One more than the page has, so that it is known whether another one follows.
    for (let i = 0; i < numbers.length && read.length <= size; i += READ_AT_ONCE) {
      const some = numbers.slice(i, i + READ_AT_ONCE);
      const configs = await Promise.all(some.map((version) => this.#read(namespace, group, key, version)));
      for (const config of configs) if (config) read.push(withoutContent(config));
    }
    return firstOf(
      read,
      size,
      ({ version }) => String(version),
      (config) => config,
      headBytes,
    );
  }

  /** The configs of a namespace that the caller sees, by group and key, without content. `after` names the last entry of the page before. */
  heads(
    namespace: string,
    group: string,
    prefix: string,
    size: number,
    after: string,
    sees: (group: string, key: string) => boolean,
  ): Page<Config> {
    const all: ConfigItem[] = [];
    for (const { value: scope } of this.catalog.configs.namespace(namespace)?.scopes.values() ?? []) {
      if (group && scope.name !== group) continue;
      for (const item of scope.live()) if (item.name.startsWith(prefix) && sees(scope.name, item.name)) all.push(item);
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

  /** A version that this server has not heard of yet may be kept. */
  #mayBeKept(version: bigint, head: ConfigItem | undefined): boolean {
    return !head || version >= head.config.version || keptVersions(head, this.clock.wall()).includes(version);
  }

  /** The current version comes from memory. */
  async #read(namespace: string, group: string, key: string, version: bigint): Promise<Config | undefined> {
    const head = this.catalog.configs.get(namespace, group, key);
    if (head?.config.version === version) return head.config;
    const { entry } = await this.commits.get(versionKey(namespace, group, key, version));
    return entry && readConfig(entry).config;
  }
}
