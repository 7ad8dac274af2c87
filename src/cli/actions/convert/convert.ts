import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { LIMITS } from '../../../model/limits.js';
import { CONFIG_KEY, GROUP, validName } from '../../../model/names.js';
import { CommandFailed, Exit } from '../../exits.js';
import { type FileConfig, writeGroup } from '../config-folder.js';
import { fromApollo } from './apollo.js';
import { fromConsul } from './consul.js';
import type { Conversion, ConvertOptions, Found } from './found.js';
import { fromKubernetes } from './kubernetes.js';
import { fromNacos } from './nacos.js';
import { fromSpring } from './spring.js';

/** The systems whose configs can be converted, and how each is read. */
export const SYSTEMS: Readonly<Record<string, (source: string, options: ConvertOptions) => Conversion>> = {
  apollo: fromApollo,
  consul: fromConsul,
  kubernetes: fromKubernetes,
  nacos: fromNacos,
  spring: fromSpring,
};

/** Writes the configs of another system as files for `config import`, and returns a line for each thing that is lost or changed. */
export function convert(
  system: string,
  source: string,
  folder: string,
  options: ConvertOptions = {},
): { configs: number; report: string[] } {
  const read = SYSTEMS[system];
  if (!read)
    throw new CommandFailed(`${JSON.stringify(system)} is none of ${Object.keys(SYSTEMS).join(', ')}`, Exit.USAGE);
  if (options.environment !== undefined && system !== 'apollo')
    throw new CommandFailed(`--environment: the configs of ${system} have no environments`, Exit.USAGE);
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new CommandFailed(`${folder} is not empty: configs are written into a new folder`, Exit.USAGE);
  const { found, report } = read(source, options);
  const lines = [...report];
  const groups = new Map<string, FileConfig[]>();
  const taken = new Map<string, string>();
  // Of several that would have one name, the one that has it already keeps it.
  const isExact = ({ group, key }: Found): boolean =>
    validName(GROUP, group) === group && validName(CONFIG_KEY, key) === key;
  for (const one of [...found.filter(isExact), ...found.filter((other) => !isExact(other))]) {
    const config = named(one, lines);
    if (!config) continue;
    const name = `${config.group}/${config.key}`;
    const other = taken.get(name);
    if (other !== undefined) {
      lines.push(`${quoted(`${one.group}/${one.key}`)}: left out; ${quoted(other)} has the same name ${name}`);
      continue;
    }
    taken.set(name, `${one.group}/${one.key}`);
    const group = groups.get(config.group);
    if (group) group.push(config);
    else groups.set(config.group, [config]);
  }
  if (taken.size > LIMITS.CONFIGS.value)
    lines.push(`there are ${taken.size} configs, more than the ${LIMITS.CONFIGS.value} that a server takes`);
  mkdirSync(folder, { recursive: true });
  for (const [group, configs] of groups) writeGroup(join(folder, group), configs);
  return { configs: taken.size, report: lines };
}

/** A name in a line of the report: in quotes where it would not be seen as one. */
const quoted = (name: string): string => (/^[\w./@+=~-]+$/.test(name) ? name : JSON.stringify(name));

/** The config with names that Rollcall takes: others are mapped as a refusal proposes. */
function named({ group, key, content, format, labels }: Found, lines: string[]): FileConfig | undefined {
  const own = `${group}/${key}`;
  const [newGroup, newKey] = [validName(GROUP, group), validName(CONFIG_KEY, key)];
  if (newGroup === undefined || newKey === undefined) {
    lines.push(`${quoted(own)}: left out; nothing of its name can be one`);
    return undefined;
  }
  if (newGroup !== group || newKey !== key) lines.push(`${quoted(own)}: is named ${newGroup}/${newKey}`);
  if (content.length > LIMITS.PUBLISH_BYTES.value)
    lines.push(
      `${quoted(own)}: has ${content.length} bytes, more than the ${LIMITS.PUBLISH_BYTES.value} that a config may have`,
    );
  return { group: newGroup, key: newKey, content, ...(format && { format }), ...(labels && { labels }) };
}
