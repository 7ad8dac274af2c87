import { readFile } from 'node:fs/promises';

/** A token is read again after this, because it may have been renewed. */
const KEPT_MS = 10_000;

/** Returns the token in a file, for `ConnectionOptions.token`. The file is read again when it may have been renewed. */
export function tokenFile(path: string): () => Promise<string> {
  let kept: { readonly token: string; readonly atMs: number } | undefined;
  return async () => {
    if (!kept || performance.now() - kept.atMs > KEPT_MS)
      kept = { token: (await readFile(path, 'utf8')).trim(), atMs: performance.now() };
    return kept.token;
  };
}
