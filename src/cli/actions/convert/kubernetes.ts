import { readFileSync } from 'node:fs';
import { loadAll } from 'js-yaml';
import { CommandFailed, Exit } from '../../exits.js';
import type { Conversion, Found } from './found.js';

/** ConfigMaps that Kubernetes itself puts into every namespace. */
const ITS_OWN = 'kube-root-ca.crt';
/** Annotations that tools leave behind, and that mean nothing elsewhere. */
const LEFT_BY_TOOLS = 'kubectl.kubernetes.io/';

interface ConfigMap {
  readonly kind?: string;
  readonly items?: readonly ConfigMap[];
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly kind?: string; readonly name?: string }[];
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
  readonly immutable?: boolean;
}

/** Reads ConfigMaps as `kubectl get configmaps -o yaml` prints them: each becomes a group, and each of its entries a config. */
export function fromKubernetes(file: string): Conversion {
  const found: Found[] = [];
  const report: string[] = [];
  const maps = documentsOf(file).flatMap((one) => one.items ?? [one]);
  const namespaces = new Set(maps.map(({ metadata }) => metadata?.namespace ?? ''));
  if (namespaces.size > 1)
    throw new CommandFailed(
      `${file}: has ConfigMaps of several namespaces (${[...namespaces].map((one) => one || 'none').join(', ')}); convert one namespace at a time`,
      Exit.USAGE,
    );
  for (const { kind, metadata = {}, data = {}, binaryData = {}, immutable = false } of maps) {
    const { name: group = '', labels = {}, annotations = {}, ownerReferences = [] } = metadata;
    if (kind !== 'ConfigMap' || group === '') {
      report.push(`${kind ?? 'a document without a kind'} ${group}: is no ConfigMap`);
      continue;
    }
    if (group === ITS_OWN) {
      report.push(`${group}: Kubernetes makes it in every namespace; left out`);
      continue;
    }
    if (immutable) report.push(`${group}: it is immutable; nothing here keeps configs from being published again`);
    for (const name of Object.keys(annotations))
      if (!name.startsWith(LEFT_BY_TOOLS)) report.push(`${group}: its annotation ${name} is lost`);
    for (const { kind: of = '', name = '' } of ownerReferences)
      report.push(`${group}: it belongs to ${of} ${name}, which will go on writing the ConfigMap, and not the config`);
    const more = Object.keys(labels).length > 0 && { labels };
    for (const [key, text] of Object.entries(data)) found.push({ group, key, content: Buffer.from(text), ...more });
    for (const [key, text] of Object.entries(binaryData))
      found.push({ group, key, content: Buffer.from(text, 'base64'), ...more });
    if (Object.keys(data).length + Object.keys(binaryData).length === 0) report.push(`${group}: it is empty`);
  }
  return { found, report };
}

function documentsOf(file: string): ConfigMap[] {
  try {
    return loadAll(readFileSync(file, 'utf8')).filter((one) => one !== null && typeof one === 'object');
  } catch (error) {
    throw new CommandFailed(`${file}: cannot be read (${(error as Error).message.split('\n', 1)[0]})`, Exit.USAGE);
  }
}
