import { Config } from '../gen/rollcall/v1/config.js';
import type { WatchConfigResponse } from '../gen/rollcall/v1/config_service.js';
import type { ServiceCalls } from './calls.js';
import { View, type ViewOptions } from './view.js';

/** The configs of a view. */
export interface ConfigSelection {
  /** Default: "default". */
  readonly namespace?: string;
  /** Default: "default". */
  readonly group?: string;
  /** The keys. Absent together with `prefixes`: every config of the group, also future ones. */
  readonly keys?: readonly string[];
  /** Beginnings of keys. */
  readonly prefixes?: readonly string[];
}

/** A view of the configs of a group. */
export class ConfigView extends View<WatchConfigResponse, Config> {
  readonly #group: string;

  constructor(
    { config }: Pick<ServiceCalls, 'config'>,
    { namespace = 'default', group = 'default', keys = [], prefixes = [] }: ConfigSelection,
    options: ViewOptions = {},
  ) {
    const filter = { group, keys: [...keys].sort(), prefixes: [...prefixes].sort() };
    const selected = { namespace, filters: [filter] };
    super(
      {
        selection: `configs ${JSON.stringify(selected)}`,
        open: (resumeToken, signal) => config.watchConfig({ ...selected, resumeToken }, { signal }),
        upserted: (message) => message.upserted.map((each) => [keyOf(each), each] as const),
        removed: (message) => message.removed.map(keyOf),
        encode: (each) => Config.encode(each).finish(),
        decode: (bytes) => Config.decode(bytes),
      },
      options,
    );
    this.#group = group;
  }

  /** A config; `undefined` if there is none. */
  config(key: string): Config | undefined {
    return this.items.get(keyOf({ group: this.#group, key }));
  }

  /** The content of a config as text; `undefined` if there is none. */
  text(key: string): string | undefined {
    const content = this.config(key)?.content;
    if (!content) return undefined;
    return content.$case === 'text' ? content.value : Buffer.from(content.value).toString('utf8');
  }
}

const keyOf = ({ group, key }: { readonly group: string; readonly key: string }): string => `${group}/${key}`;
