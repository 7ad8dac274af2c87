import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The last state of a view. */
export interface SavedItems {
  readonly items: readonly (readonly [key: string, bytes: Uint8Array])[];
  readonly revision: bigint;
  /** The token to go on from. It is bound to the epoch of the store: another store answers it with a snapshot. */
  readonly resumeToken: string;
  /** How old the view may be, in milliseconds. */
  readonly ageMs: number;
}

/** The form of the file. One of another form is not read. */
const FORM = 1;

/** The file in which a view keeps what it showed last. It is for the same selection of the same servers. */
export class SavedView {
  readonly #path: string;
  readonly #subject: string;

  constructor(
    private readonly folder: string,
    selection: string,
    servers: readonly string[],
  ) {
    this.#subject = JSON.stringify([selection, [...servers].sort()]);
    const name = createHash('sha256').update(this.#subject).digest('hex').slice(0, 32);
    this.#path = join(folder, `${name}.json`);
  }

  /** Reads the file. Returns `undefined` if there is none, or if it is not whole. */
  read(): SavedItems | undefined {
    try {
      const saved = JSON.parse(readFileSync(this.#path, 'utf8')) as Saved;
      if (saved.form !== FORM || saved.subject !== this.#subject) return undefined;
      return {
        items: saved.items.map(([key, text]) => [key, Buffer.from(text, 'base64')]),
        revision: BigInt(saved.revision),
        resumeToken: saved.resumeToken,
        ageMs: Math.max(Date.now() - saved.currentAtMs, 0),
      };
    } catch {
      return undefined; // none was kept, or it is damaged: the watch begins with a snapshot
    }
  }

  /** Writes the file in one step. Throws if that fails. */
  write({ items, revision, resumeToken, ageMs }: SavedItems): void {
    const saved: Saved = {
      form: FORM,
      subject: this.#subject,
      currentAtMs: Date.now() - ageMs,
      revision: String(revision),
      resumeToken,
      items: items.map(([key, bytes]) => [key, Buffer.from(bytes).toString('base64')]),
    };
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const beside = `${this.#path}.${process.pid}`;
    writeFileSync(beside, JSON.stringify(saved), { mode: 0o600 });
    renameSync(beside, this.#path);
  }
}

interface Saved {
  readonly form: number;
  readonly subject: string;
  readonly currentAtMs: number;
  readonly revision: string;
  readonly resumeToken: string;
  readonly items: readonly (readonly [key: string, base64: string])[];
}
