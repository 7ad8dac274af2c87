import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { CommandFailed, Exit } from '../../exits.js';
import type { Conversion, Found } from './found.js';

const GROUP = 'default';
/** The files that Spring Cloud Config serves as properties of an application. */
const SERVED = /\.(ya?ml|properties|json)$/;
/** A line between the documents of a YAML file. */
const DOCUMENT_END = /^---(?:[ \t].*)?$/m;
/** The key by which a document says for which profiles it is. */
const PROFILES = /^\s*(?:on-profile|profiles):\s*["']?([\w,\- ]+)["']?\s*$/m;
const PLACEHOLDER = /\$\{[^}]+\}/;
const CIPHER = /\{cipher\}/;

/**
 * Reads a folder or a clone of a repository of Spring Cloud Config. A file becomes a config under its own path. There are no
 * profiles: `app-prod.yml` is a config beside `app.yml`, and the program reads both.
 */
export function fromSpring(folder: string): Conversion {
  const found: Found[] = [];
  const report: string[] = [];
  for (const path of pathsIn(folder)) {
    const name = path.split(sep).join('/');
    if (name.split('/').some((part) => part.startsWith('.'))) continue; // such as .git
    if (!SERVED.test(name)) {
      report.push(`${name}: no file of properties; left out`);
      continue;
    }
    const text = readFileSync(join(folder, path), 'utf8');
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

/** A YAML file of several documents becomes a config for each: readers of one document would refuse it. */
function documentsOf(name: string, text: string, report: string[]): { key: string; content: Buffer }[] {
  const documents = /\.ya?ml$/.test(name) ? text.split(DOCUMENT_END).filter((one) => one.trim() !== '') : [text];
  if (documents.length < 2) return [{ key: name, content: Buffer.from(text) }];
  const [, base, end] = /^(.*)(\.ya?ml)$/.exec(name)!;
  return documents.map((document, i) => {
    const profiles = PROFILES.exec(document)?.[1]
      ?.trim()
      .replace(/[\s,]+/g, '-');
    const key = profiles ? `${base}-${profiles}${end}` : i === 0 ? name : `${base}-${i + 1}${end}`;
    if (key !== name) report.push(`${name}: its document ${i + 1} is the config ${key}`);
    return { key, content: Buffer.from(document.replace(/^\n/, '')) };
  });
}

function pathsIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => lstatSync(join(folder, path)).isFile())
      .sort();
  } catch (error) {
    throw new CommandFailed(`${folder}: cannot be read (${(error as NodeJS.ErrnoException).code})`, Exit.USAGE);
  }
}
