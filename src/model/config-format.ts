import { ConfigFormat } from '../gen/rollcall/v1/config.js';

const SUFFIXES: readonly (readonly [RegExp, ConfigFormat])[] = [
  [/\.json$/i, ConfigFormat.CONFIG_FORMAT_JSON],
  [/\.ya?ml$/i, ConfigFormat.CONFIG_FORMAT_YAML],
  [/\.toml$/i, ConfigFormat.CONFIG_FORMAT_TOML],
  [/\.properties$/i, ConfigFormat.CONFIG_FORMAT_PROPERTIES],
];

/** The format by the suffix of the key. Without a known suffix it follows from the content: bytes are BINARY, text is TEXT. */
export function inferFormat(key: string, isData: boolean): ConfigFormat {
  const bySuffix = SUFFIXES.find(([suffix]) => suffix.test(key))?.[1];
  return bySuffix ?? (isData ? ConfigFormat.CONFIG_FORMAT_BINARY : ConfigFormat.CONFIG_FORMAT_TEXT);
}

/** The name of a format in lower case, for messages. Empty for a format of a later version. */
export function formatName(format: ConfigFormat): string {
  return (ConfigFormat[format] ?? '').replace('CONFIG_FORMAT_', '').toLowerCase();
}
