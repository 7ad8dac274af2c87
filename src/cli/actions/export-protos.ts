import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../make-folder.js';

/** The protos that the build puts beside the generated code. */
const PROTOS = fileURLToPath(new URL('../../gen/protos', import.meta.url));

/** Writes the .proto files into a folder, by the paths by which they import one another. Returns their paths. */
export function exportProtos(folder: string): string[] {
  makeFolder(folder);
  cpSync(PROTOS, folder, { recursive: true });
  return readdirSync(PROTOS, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.proto'))
    .map((path) => join(folder, path))
    .sort();
}
