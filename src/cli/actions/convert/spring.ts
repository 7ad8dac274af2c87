import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { CommandFailed, Exit } from '../../exits.js';
import type { Conversion, Found } from './found.js';

const GROUP = 'default';
/** The files that Spring Cloud Config serves as properties of an application. */
const SERVED = /\.(ya?ml|properties|json)$/;
/** A line between the documents of a YAML file, and of a file of properties. */
const YAML_END = /^---(?:[ \t].*)?$/m;
const PROPERTIES_END = /^[#!]---[ \t]*$/m;
/** The keys by which a document says for which profiles it is. */
const PROFILE_KEYS = ['spring.config.activate.on-profile', 'spring.profiles'];
const PROFILE = /^[\w.-]+$/;
const PLACEHOLDER = /\$\{[^}]+\}/;
const CIPHER = /\{cipher\}/;

/**
 * Reads a folder or a clone of a repository of Spring Cloud Config. A file becomes a config under its own path. There are no
 * profiles: `app-prod.yml` is a config beside `app.yml`, and the program reads both. Links are not followed: what they name may
 * lie anywhere on the machine.
 */
export function fromSpring(folder: string): Conversion {
  const found: Found[] = [];
  const report: string[] = [];
  for (const name of namesIn(folder, '', report)) {
    if (!SERVED.test(name)) {
      report.push(`${name}: no file of properties; left out`);
      continue;
    }
    const text = readFileSync(join(folder, name), 'utf8');
    if (CIPHER.test(text))
      report.push(`${name}: has {cipher} values, which the server of Spring decrypted; the program must do so now`);
    if (PLACEHOLDER.test(text)) report.push(`${name}: has placeholders, which Spring still resolves in the program`);
    for (const one of documentsOf(name, text, report)) found.push({ group: GROUP, ...one });
  }
  if (found.some(({ key }) => /(^|\/)application\./.test(key)))
    report.push(
      'application.*: the server of Spring merged it into every application; each program reads it beside its own config now',
    );
  return { found, report };
}

/** A file of several documents becomes a config for each, or for each of its profiles: readers of one document would refuse it. */
function documentsOf(name: string, text: string, report: string[]): { key: string; content: Buffer }[] {
  const [, base, end] = /^(.*)(\.[a-z]+)$/.exec(name)!;
  const boundary = end === '.properties' ? PROPERTIES_END : end === '.json' ? undefined : YAML_END;
  const documents = boundary ? text.split(boundary).filter((one) => one.trim() !== '') : [text];
  if (documents.length < 2) return [{ key: name, content: Buffer.from(text) }];
  const configs = new Map<string, Buffer>();
  documents.forEach((document, i) => {
    const profiles = profilesOf(document, end === '.properties');
    const content = Buffer.from(document.replace(/^\r?\n/, ''));
    const keys = profiles.every((profile) => PROFILE.test(profile))
      ? profiles.map((profile) => `${base}-${profile}${end}`)
      : [];
    if (keys.length === 0 && profiles.length > 0)
      report.push(`${name}: its document ${i + 1} is for ${JSON.stringify(profiles.join(', '))}, which no name says`);
    if (profiles.length === 0 && i === 0) keys.push(name);
    // A name that no program of Spring reads by itself.
    const isFree = keys.length > 0 && !keys.some((key) => configs.has(key));
    for (const key of isFree ? keys : [`${base}.document-${i + 1}${end}`]) {
      configs.set(key, content);
      if (key !== name) report.push(`${name}: its document ${i + 1} is the config ${key}`);
    }
  });
  return [...configs].map(([key, content]) => ({ key, content }));
}

/** The profiles for which a document is, in any form in which Spring takes them. */
function profilesOf(document: string, isProperties: boolean): string[] {
  const values = isProperties ? propertiesOf(document) : flat(yamlOf(document));
  return PROFILE_KEYS.flatMap((key) => values.get(key) ?? [])
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter(Boolean);
}

const propertiesOf = (document: string): Map<string, string[]> =>
  new Map(
    [...document.matchAll(/^[ \t]*([\w.-]+)[ \t]*[=:][ \t]*(.*?)[ \t]*$/gm)].map(([, key, value]) => [key!, [value!]]),
  );

function yamlOf(document: string): unknown {
  try {
    return loadAll(document)[0];
  } catch {
    return undefined; // the import says what is wrong with it
  }
}

/** The texts of a document by their keys, whether these are nested or written with dots. */
function flat(value: unknown, prefix = '', into = new Map<string, string[]>()): Map<string, string[]> {
  if (Array.isArray(value) || typeof value === 'string') into.set(prefix, [value].flat().map(String));
  else if (value !== null && typeof value === 'object')
    for (const [key, one] of Object.entries(value)) flat(one, prefix === '' ? key : `${prefix}.${key}`, into);
  return into;
}

/** The files below a folder, by their paths, but for links and what begins with a dot, such as .git. */
function namesIn(folder: string, path: string, report: string[]): string[] {
  try {
    return readdirSync(join(folder, path), { withFileTypes: true })
      .filter(({ name }) => !name.startsWith('.'))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((entry) => {
        const name = path === '' ? entry.name : `${path}/${entry.name}`;
        if (entry.isDirectory()) return namesIn(folder, name, report);
        if (entry.isFile()) return [name];
        report.push(`${name}: a link, or no file; left out`);
        return [];
      });
  } catch (error) {
    throw new CommandFailed(
      `${join(folder, path)}: cannot be read (${(error as NodeJS.ErrnoException).code})`,
      Exit.USAGE,
    );
  }
}
