import { readFileSync } from 'node:fs';
import { unzipSync } from 'fflate';
import { CommandFailed, Exit } from '../../exits.js';

/** The most files of an archive, and the most bytes in them: far more than the configs that a server takes. */
const FILES_MAX = 20_000;
const BYTES_MAX = 64 * 1024 * 1024;

/** The files of a zip archive by their paths, which have "/" between their parts whatever system wrote them. */
export function filesOf(archive: string): ReadonlyMap<string, Buffer> {
  let [count, bytes] = [0, 0];
  const sizes = new Map<string, number>();
  const refuse = (why: string): never => {
    throw new CommandFailed(`${archive}: ${why}`, Exit.USAGE);
  };
  let unpacked: Record<string, Uint8Array>;
  try {
    unpacked = unzipSync(readFileSync(archive), {
      filter: ({ name, originalSize }) => {
        if (name.endsWith('/')) return false;
        if (++count > FILES_MAX) refuse(`has more than ${FILES_MAX} files`);
        if ((bytes += originalSize) > BYTES_MAX) refuse(`unpacks to more than ${BYTES_MAX} bytes`);
        sizes.set(name, originalSize);
        return true;
      },
    });
  } catch (error) {
    if (error instanceof CommandFailed) throw error;
    return refuse(`cannot be read as a zip archive (${(error as Error).message})`);
  }
  const files = new Map<string, Buffer>();
  for (const [name, content] of Object.entries(unpacked)) {
    if (content.length !== sizes.get(name)) refuse(`${name} is damaged`);
    files.set(name.replaceAll('\\', '/'), Buffer.from(content));
  }
  return files;
}
