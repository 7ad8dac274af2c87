import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  type Stats,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { lockFile } from './folder.js';

/** How often the holder updates the time of its lock file. */
const UPDATE_MS = 2_000;
/** A lock file that was not updated for this long has no holder any more. */
const STALE_MS = 10_000;
/** How long a process waits for the holder to identify itself. */
const IDENTIFY_MAX_MS = 1_000;

/** The process that holds a data folder. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly since: string;
  /** The network namespace in which the holder's socket is visible. */
  readonly namespace: string;
}

/** Another process holds the data folder. */
export class FolderHeld extends Error {
  override readonly name = 'FolderHeld';
  constructor(folder: string, holder: Holder | undefined) {
    const process = holder ? `process ${holder.pid} on ${holder.host} since ${holder.since}` : 'another process';
    super(`the data folder ${folder} is held by ${process}; a folder can serve only one server`);
  }
}

/**
 * Reserves a data folder for one process.
 *
 * A socket in the abstract namespace, named after the folder, disappears at the moment when its process ends. It
 * decides among the processes that can see it. Containers may share the folder but not the network: for them the
 * holder keeps updating the time of a lock file.
 */
export class FolderLock implements Closeable {
  private constructor(
    private readonly server: Server,
    private readonly file: string,
    private readonly updates: Timer,
  ) {}

  /** Takes the folder, and creates it if it does not exist. Throws FolderHeld, which names the holder. */
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
    const server = await listen(socket, me, folder);
    const file = lockFile(folder);
    try {
      const other = readHolder(file);
      if (other && other.namespace !== me.namespace && isFresh(file)) throw new FolderHeld(folder, other);
      writeFileSync(file, JSON.stringify(me));
    } catch (error) {
      server.close();
      throw error;
    }
    return new FolderLock(server, file, keepFresh(file, clock));
  }

  async close(): Promise<void> {
    this.updates.cancel();
    rmSync(this.file, { force: true });
    const folder = dirname(this.file);
    if (existsSync(folder)) for (const name of readdirSync(folder)) giveTo(statSync(folder), join(folder, name));
    await new Promise((closed) => this.server.close(closed));
  }
}

/** Listens on the socket of a folder, and sends `me` to every visitor. Throws FolderHeld if another process does so. */
async function listen(socket: string, me: Holder, folder: string): Promise<Server> {
  const server = createServer((visitor) => {
    visitor.on('error', () => visitor.destroy());
    visitor.end(JSON.stringify(me));
  });
  try {
    server.listen(socket);
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new FolderHeld(folder, await askHolder(socket));
  }
  server.unref();
  return server;
}

/** Updates the time of the lock file until the timer is cancelled. */
function keepFresh(file: string, clock: Clock): Timer {
  return clock.every(UPDATE_MS, () => {
    const now = new Date(clock.wall());
    try {
      utimesSync(file, now, now);
    } catch {
      // The folder is gone or full. The socket still reserves it on this host.
    }
  });
}

/**
 * Creates a folder level by level, each of the owner of the one above. Node's recursive mkdir hangs forever where no folder can
 * be made, as in /proc.
 */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
  giveTo(statSync(dirname(folder)), folder);
}

/** Gives a file that root has made to the owner of its folder: a server that runs as that user must be able to write it. */
function giveTo({ uid, gid }: Stats, path: string): void {
  if (process.getuid!() === 0 && uid !== 0) chownSync(path, uid, gid);
}

/** Asks the holder of a socket to identify itself. `undefined` if it does not answer in time. */
function askHolder(socket: string): Promise<Holder | undefined> {
  return new Promise((answered) => {
    let text = '';
    const visitor = connect(socket);
    visitor.setTimeout(IDENTIFY_MAX_MS, () => visitor.destroy());
    visitor.on('data', (bytes) => (text += bytes.toString()));
    visitor.on('error', () => undefined);
    visitor.on('close', () => answered(parseHolder(text)));
  });
}

/** Reads a lock file. `undefined` if it does not exist or names no holder. */
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

/** Compares wall clocks, because file times have no other. */
function isFresh(file: string): boolean {
  return Date.now() - statSync(file).mtimeMs < STALE_MS;
}

/** Identifies the network namespace of this process. Empty where /proc does not show it. */
function networkNamespace(): string {
  try {
    return String(statSync('/proc/self/ns/net').ino);
  } catch {
    return '';
  }
}
