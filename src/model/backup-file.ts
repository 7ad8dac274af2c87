/**
 * The file of a backup: a line of JSON about it, the data file of the embedded store, and a line with the SHA-256 of all before.
 */

/** The first field of the first line. A later form of the file has a higher number. */
const FORMAT = 'rollcall backup 1';
/** The longest first line. */
export const BACKUP_HEAD_MAX = 4_096;
/** The length of the last line. */
export const BACKUP_END_BYTES = 'sha256 '.length + 64 + 1;

/** The contents of the first line. */
export interface BackupHead {
  /** The revision of the store that the data are of. */
  readonly revision: string;
  /** The length of the data, in bytes. */
  readonly bytes: number;
  /** The version of the program that made the copy. */
  readonly serverVersion: string;
  /** When it was made: RFC 3339, UTC. */
  readonly time: string;
}

/** The first line of a backup. */
export function backupHead(head: BackupHead): string {
  return `${JSON.stringify({ format: FORMAT, ...head })}\n`;
}

/** Reads the first line of a backup, without its end. `undefined`: it is none that this program reads. */
export function readBackupHead(line: string): BackupHead | undefined {
  try {
    const { format, ...head } = JSON.parse(line) as { format: unknown } & BackupHead;
    const isKnown = format === FORMAT && Number.isSafeInteger(head.bytes) && head.bytes >= 0;
    return isKnown && /^\d+$/.test(head.revision) ? head : undefined;
  } catch {
    return undefined;
  }
}

/** The last line of a backup. `sha256`: in hexadecimal digits. */
export const backupEnd = (sha256: string): string => `sha256 ${sha256}\n`;
