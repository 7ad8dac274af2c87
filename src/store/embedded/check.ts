import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DamagedStore, dataFile } from './folder.js';

/**
 * Checks a data folder in a child process, because LMDB can crash a process that reads a damaged file. A crash of the
 * child is a finding like any other. Changes nothing. Throws DamagedStore.
 */
export async function checkFolder(folder: string): Promise<void> {
  if (!existsSync(dataFile(folder))) return;
  const { code, signal, stderr } = await runChild(folder);
  if (code === 0) return;
  const finding = /^damage: (.*)$/m.exec(stderr)?.[1];
  throw new DamagedStore(folder, finding ?? `reading it ended with ${signal ?? `exit code ${code}`}`);
}

interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** Runs check-child.ts, or its built form beside this file. */
function runChild(folder: string): Promise<ChildEnd> {
  const ending = extname(fileURLToPath(import.meta.url));
  const script = fileURLToPath(new URL(`check-child${ending}`, import.meta.url));
  // Sources run through a loader, which the child needs as well.
  const loader = ending === '.ts' ? process.execArgv : [];
  const child = spawn(process.execPath, [...loader, script, folder], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
}
