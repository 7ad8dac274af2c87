import { createHash } from 'node:crypto';

/** An address of its own for each name: what has the address of another instance takes its place. */
export function addressFor(name: string): string {
  const hash = createHash('sha256').update(name).digest('hex');
  return `2001:db8:${hash.slice(0, 4)}:${hash.slice(4, 8)}::${hash.slice(8, 12)}`;
}
