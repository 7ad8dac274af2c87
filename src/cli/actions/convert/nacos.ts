import { load } from 'js-yaml';
import { LIMITS } from '../../../model/limits.js';
import { CommandFailed, Exit } from '../../exits.js';
import { filesOf } from './archive.js';
import type { Conversion, Found } from './found.js';

/** The file that newer versions of Nacos add to an export, and that of older ones. */
const METADATA = '.metadata.yml';
const OLD_METADATA = '.meta.yml';
/** The formats of Nacos that have a name here. Its others are text. */
const FORMATS: ReadonlySet<string> = new Set(['json', 'yaml', 'toml', 'properties']);
/** Configs whose content a plugin of Nacos encrypts begin so. */
const ENCRYPTED = /^cipher-/;
const LABEL_BYTES = LIMITS.LABEL_VALUE_BYTES.value;

/** The facts of a config in an export, beside its content. */
interface Facts {
  readonly type?: string;
  readonly appName?: string;
  readonly desc?: string;
  readonly configTags?: string;
}

/** Reads the archive that the console of Nacos exports: `GROUP/dataId` for each config of one namespace. */
export function fromNacos(archive: string): Conversion {
  const files = filesOf(archive);
  const facts = factsOf(archive, files);
  const found: Found[] = [];
  const report: string[] = [];
  for (const [path, content] of files) {
    if (path === METADATA || path === OLD_METADATA) continue;
    const slash = path.indexOf('/');
    if (slash <= 0) {
      report.push(`${path}: lies in no group; left out`);
      continue;
    }
    const [group, key] = [path.slice(0, slash), path.slice(slash + 1)];
    if (ENCRYPTED.test(key)) report.push(`${path}: a plugin of Nacos encrypted its content, which stays so`);
    const { type = '', appName, desc, configTags } = facts.get(path) ?? {};
    const labels: Record<string, string> = {};
    for (const [name, value] of Object.entries({ app: appName, description: desc, tags: configTags })) {
      if (!value) continue;
      labels[`nacos-${name}`] = value;
      if (Buffer.byteLength(value) <= LABEL_BYTES) continue;
      labels[`nacos-${name}`] = Buffer.from(value)
        .subarray(0, LABEL_BYTES)
        .toString('utf8')
        .replace(/\uFFFD+$/, '');
      report.push(`${path}: its ${name} is cut to ${LABEL_BYTES} bytes`);
    }
    const format = FORMATS.has(type) ? type : undefined;
    found.push({ group, key, content, ...(format && { format }), ...(Object.keys(labels).length > 0 && { labels }) });
  }
  if (found.length > 0 && facts.size === 0)
    report.push(`${METADATA}: is not there, so formats follow the names alone, and descriptions and tags are lost`);
  report.push('gray (beta) configs, histories and the rights of users are in no export');
  return { found, report };
}

/** The facts of each config, by its path. */
function factsOf(archive: string, files: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Facts> {
  const facts = new Map<string, Facts>();
  const text = files.get(METADATA)?.toString();
  if (text !== undefined) {
    for (const one of metadataOf(archive, text)) facts.set(`${one.group}/${one.dataId}`, one);
    return facts;
  }
  // GROUP.name~suffix.app=APP, where a "~" stands for the last dot of the dataId.
  for (const line of (files.get(OLD_METADATA)?.toString() ?? '').split(/\r?\n/)) {
    const [, id, appName] = /^(.+)\.app=(.*)$/.exec(line) ?? [];
    const path = id && [...files.keys()].find((one) => oldNameOf(one) === id);
    if (path && appName) facts.set(path, { appName });
  }
  return facts;
}

const oldNameOf = (path: string): string =>
  path.replace('/', '.').replace(/\.([^.]*)$/, (_, suffix: string) => `~${suffix}`);

function metadataOf(archive: string, text: string): (Facts & { group: string; dataId: string })[] {
  try {
    const { metadata } = load(text) as { metadata?: unknown };
    if (Array.isArray(metadata)) return metadata as (Facts & { group: string; dataId: string })[];
  } catch {
    // Refused below, as any other form that is not Nacos'.
  }
  throw new CommandFailed(`${archive}: its ${METADATA} is not what Nacos writes: metadata with a list`, Exit.USAGE);
}
