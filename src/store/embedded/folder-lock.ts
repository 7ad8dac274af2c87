import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';

/** The holder touches its lock file this often. */
const TOUCH_MS = 2_000;
/** A lock file that was not touched for this long has no holder any more. */
const STALE_MS = 10_000;

/** Who holds a data folder. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly since: string;
  /** The network namespace in which the holder's socket can be seen. */
  readonly namespace: string;
}

/** Another process holds the data folder. */
export class FolderHeld extends Error {
  override readonly name = 'FolderHeld';
}

/**
 * Keeps a data folder for one process.
 *
 * A socket in the abstract namespace, named after the folder, is gone the moment its process is; it decides among
 * the processes that can see it. For containers that share the folder but not the network a lock file is touched.
 */
export class FolderLock implements Closeable {
  private constructor(
    private readonly server: Server,
    private readonly file: string,
    private readonly touching: Timer,
  ) {}

  /** Takes the folder, which is created if need be. Throws FolderHeld, which says who holds it. */
  static async take(folder: string, clock: Clock): Promise<FolderLock> {
    makeFolder(resolve(folder));
    const { dev, ino } = statSync(folder);
    const socket = `\0rollcall-${dev}-${ino}`;
    const me: Holder = {
      pid: process.pid,
      host: hostname(),
      since: new Date(clock.wall()).toISOString(),
      namespace: networkNamespace(),
    };
    const server = createServer((visitor) => {
      visitor.on('error', () => visitor.destroy());
      visitor.end(JSON.stringify(me));
    });
    try {
      server.listen(socket);
      await once(server, 'listening');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      throw held(folder, await askHolder(socket));
    }
    server.unref();
    const file = join(folder, 'lock');
    try {
      const other = readHolder(file);
      if (other && other.namespace !== me.namespace && isTouched(file)) throw held(folder, other);
      writeFileSync(file, JSON.stringify(me));
    } catch (error) {
      server.close();
      throw error;
    }
    const touching = clock.every(TOUCH_MS, () => {
      const now = new Date(clock.wall());
      try {
        utimesSync(file, now, now);
      } catch {
        // The folder is gone or full; the socket still holds it here.
      }
    });
    return new FolderLock(server, file, touching);
  }

  async close(): Promise<void> {
    this.touching.cancel();
    rmSync(this.file, { force: true });
    await new Promise((closed) => this.server.close(closed));
  }
}

/** Folder by folder: made all at once, Node hangs for ever where the file system has no room for folders, such as in /proc. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
}

function held(folder: string, holder: Holder | undefined): FolderHeld {
  const who = holder ? `process ${holder.pid} on ${holder.host} since ${holder.since}` : 'another process';
  return new FolderHeld(`the data folder ${folder} is held by ${who}; one folder is for one server alone`);
}

function askHolder(socket: string): Promise<Holder | undefined> {
  return new Promise((answered) => {
    let text = '';
    const visitor = connect(socket);
    visitor.setTimeout(1_000, () => visitor.destroy());
    visitor.on('data', (bytes) => (text += bytes.toString()));
    visitor.on('error', () => undefined);
    visitor.on('close', () => answered(parseHolder(text)));
  });
}

function readHolder(file: string): Holder | undefined {
  try {
    return parseHolder(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined;
  }
}

/** Wall clock on both sides: file times know no other. */
function isTouched(file: string): boolean {
  return Date.now() - statSync(file).mtimeMs < STALE_MS;
}

function networkNamespace(): string {
  try {
    return String(statSync('/proc/self/ns/net').ino);
  } catch {
    return '';
  }
}
