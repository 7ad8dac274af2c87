import { ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { inspectJson } from './formats/json.js';
import type { Inspection, SyntaxFault } from './formats/places.js';
import { inspectProperties } from './formats/properties.js';
import { inspectToml } from './formats/toml.js';
import { inspectYaml } from './formats/yaml.js';

export type { Inspection, SyntaxFault };

const INSPECTORS: Partial<Record<ConfigFormat, (text: string) => Inspection>> = {
  [ConfigFormat.CONFIG_FORMAT_JSON]: inspectJson,
  [ConfigFormat.CONFIG_FORMAT_YAML]: inspectYaml,
  [ConfigFormat.CONFIG_FORMAT_TOML]: inspectToml,
  [ConfigFormat.CONFIG_FORMAT_PROPERTIES]: inspectProperties,
};

/**
 * Compares a text with the rules of its format: those that the readers of applications follow, by
 * docs/reference/config-formats.md. The time grows with the text: a megabyte can take more than a second.
 */
export function inspect(format: ConfigFormat, text: string): Inspection {
  return INSPECTORS[format]?.(text) ?? { fault: undefined, warnings: [] };
}

/** Returns true if texts of the format need a parser: JSON, YAML, TOML, PROPERTIES. */
export function hasSyntax(format: ConfigFormat): boolean {
  return INSPECTORS[format] !== undefined;
}
