import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { follow, type WatchStep } from '../../client/watch.js';
import { WatchConfigRequest, type WatchConfigResponse } from '../../gen/rollcall/v1/config_service.js';
import { contentOf } from '../contents.js';
import { faultOfKey, foldersOf } from './config-folder.js';
import { CommandFailed, Exit } from '../exits.js';
import { makeFolder } from '../make-folder.js';
import { warn } from '../output.js';
import type { Session } from '../session.js';

/** How long a check may take. */
const CHECK_MAX_MS = 10_000;
/** How long the folder of an older revision stays, for programs that are still reading it. */
const OLD_KEPT_MS = 60_000;
/** How long `--once` waits for a server. */
const ONCE_MAX_MS = 15_000;

/** The link to the folder of the current revision. */
const CURRENT = 'current';
/** The file with the token to go on from. */
const TOKEN_FILE = '..token';
const FOLDER_PREFIX = '..r';

/** The flags of sync. */
export interface SyncFlags {
  readonly group?: string;
  readonly prefix?: string;
  readonly check?: string;
  readonly exec?: string;
  readonly once?: boolean;
  readonly allowEmpty?: boolean;
}

/** Keeps a folder like the configs of a group until the command is ended. */
export async function syncConfigs(session: Session<SyncFlags>, target: string): Promise<void> {
  const { client, namespace, flags, signal } = session;
  const { group = 'default', prefix = '', once = false } = flags;
  makeFolder(target, 0o750);
  const announcer = flags.exec === undefined ? undefined : new Announcer(flags.exec);
  const folder = new SyncFolder(resolve(target), JSON.stringify({ namespace, group, prefix }), announcer);
  const request = WatchConfigRequest.fromPartial({
    namespace,
    filters: [{ group, prefixes: prefix === '' ? [] : [prefix] }],
  });
  const stop = new AbortController();
  const giveUp = once ? setTimeout(() => stop.abort(), ONCE_MAX_MS) : undefined;
  const ended = AbortSignal.any([signal, stop.signal]);
  let refusals = 0;
  let isDone = false;
  const steps = follow<WatchConfigResponse>(
    (resumeToken) => client.config.watchConfig({ ...request, resumeToken }, { signal: ended }),
    {
      signal: ended,
      resumeToken: folder.token,
      onInterrupted: ({ message }) => warn(`no server answers, and the files stay as they are: ${message}`),
    },
  );
  for await (const step of steps) {
    const fault = folder.take(step, flags);
    if (fault === undefined) isDone = true;
    else warn(`revision ${step.revision} is refused, and the files stay as they are (${++refusals} so far): ${fault}`);
    if (!once) continue;
    clearTimeout(giveUp);
    if (fault !== undefined) throw new CommandFailed('the files were not written', Exit.CHECK_FAILED);
    isDone = true;
    break;
  }
  clearTimeout(giveUp);
  await announcer?.idle();
  if (once && !isDone) throw new CommandFailed(`no server answers at ${client.address}`, Exit.UNREACHABLE);
}

/** The folder: its files, and the view of the configs that they show. */
class SyncFolder {
  /** The contents by key, as of the last step. */
  #view: Map<string, Buffer>;
  readonly #old = new Map<string, NodeJS.Timeout>();
  /** The token of the files; empty if there are none of this selection. */
  readonly token: string;

  constructor(
    private readonly path: string,
    private readonly selection: string,
    private readonly announcer: Announcer | undefined,
  ) {
    const kept = this.#keptToken();
    const now = this.#currentFolder();
    this.token = kept !== undefined && now !== undefined ? kept : '';
    this.#view = this.token !== '' ? contentsBelow(now!) : new Map<string, Buffer>();
    for (const name of readdirSync(path))
      if (name.startsWith(FOLDER_PREFIX) && join(path, name) !== now) rmSync(join(path, name), { recursive: true });
  }

  /** Takes over a step of the watch. Returns why the files stay as they are; `undefined` if they show it. */
  take(step: WatchStep<WatchConfigResponse>, flags: SyncFlags): string | undefined {
    const next = step.kind === 'snapshot' ? new Map<string, Buffer>() : new Map(this.#view);
    for (const { upserted, removed } of step.messages) {
      for (const config of upserted) next.set(config.key, contentOf(config));
      for (const { key } of removed) next.delete(key);
    }
    const before = this.#currentFolder();
    const shown = before === undefined ? undefined : contentsBelow(before);
    this.#view = next;
    if (shown && areEqual(shown, next)) return this.#keepToken(step.resumeToken);
    if (next.size === 0 && shown && shown.size > 0 && !flags.allowEmpty)
      return 'all configs are gone; --allow-empty takes that over';
    const folders = foldersOf(next.keys());
    for (const key of next.keys()) {
      const fault = faultOfKey(key, folders);
      if (fault !== undefined) return `the key ${JSON.stringify(key)} cannot be a file: ${fault}`;
    }
    const staged = this.#stage(step.revision, next);
    const fault = flags.check === undefined ? undefined : faultOfCheck(flags.check, staged);
    if (fault !== undefined) {
      rmSync(staged, { recursive: true });
      return fault;
    }
    this.#swap(staged, before);
    this.#keepToken(step.resumeToken);
    warn(`revision ${step.revision}: ${next.size} files`);
    this.announcer?.announce(staged);
    return undefined;
  }

  /** Writes the files of a revision to a folder of their own. */
  #stage(revision: bigint, view: ReadonlyMap<string, Buffer>): string {
    const staged = join(this.path, `${FOLDER_PREFIX}${revision}-${process.pid}`);
    rmSync(staged, { recursive: true, force: true });
    mkdirSync(staged, { mode: 0o750 });
    for (const [key, content] of view) {
      const path = join(staged, ...key.split('/'));
      mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
      writeDurably(path, content, 0o640);
    }
    syncFolderOf(staged);
    return staged;
  }

  /** Makes the folder of a revision the current one, in one step. */
  #swap(staged: string, before: string | undefined): void {
    const link = join(this.path, `..${CURRENT}-${process.pid}`);
    rmSync(link, { force: true });
    symlinkSync(basename(staged), link);
    renameSync(link, join(this.path, CURRENT));
    syncFolderOf(this.path);
    if (before === undefined || before === staged) return;
    clearTimeout(this.#old.get(before));
    this.#old.set(before, setTimeout(() => rmSync(before, { recursive: true, force: true }), OLD_KEPT_MS).unref());
  }

  #keepToken(token: string): undefined {
    const beside = join(this.path, `${TOKEN_FILE}-${process.pid}`);
    writeDurably(beside, Buffer.from(JSON.stringify({ selection: this.selection, token })), 0o600);
    renameSync(beside, join(this.path, TOKEN_FILE));
  }

  #keptToken(): string | undefined {
    try {
      const { selection, token } = JSON.parse(readFileSync(join(this.path, TOKEN_FILE), 'utf8')) as Record<
        string,
        string
      >;
      return selection === this.selection ? token : undefined;
    } catch {
      return undefined; // none was kept, or it is damaged: the watch begins with a snapshot
    }
  }

  #currentFolder(): string | undefined {
    const link = join(this.path, CURRENT);
    if (!existsSync(link)) return undefined;
    if (!lstatSync(link).isSymbolicLink())
      throw new CommandFailed(`${link} is no link of this command: choose another folder`, Exit.USAGE);
    return join(this.path, readlinkSync(link));
  }
}

function contentsBelow(folder: string): Map<string, Buffer> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => lstatSync(path).isFile());
  return new Map(files.map((path) => [relative(folder, path).split(sep).join('/'), readFileSync(path)]));
}

const areEqual = (one: ReadonlyMap<string, Buffer>, other: ReadonlyMap<string, Buffer>): boolean =>
  one.size === other.size && [...one].every(([key, content]) => other.get(key)?.equals(content));

function writeDurably(path: string, content: Buffer, mode: number): void {
  const file = openSync(path, 'w', mode);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncFolderOf(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Runs the check of a revision. Returns why it is refused. */
function faultOfCheck(command: string, folder: string): string | undefined {
  const { status, signal, stderr, error } = spawnSync('/bin/sh', ['-c', command.replaceAll('{dir}', folder)], {
    timeout: CHECK_MAX_MS,
    encoding: 'utf8',
    stdio: ['ignore', 'inherit', 'pipe'],
    env: { ...process.env, ROLLCALL_DIR: folder },
  });
  if (status === 0) return undefined;
  const last = stderr.trim().split('\n').at(-1) ?? '';
  return `the check ended with ${error?.message ?? signal ?? status}${last === '' ? '' : `: ${last}`}`;
}

/** Runs a command after each swap, one at a time. Of the swaps that come while it runs, the last one alone is announced. */
class Announcer {
  #running: Promise<void> | undefined;
  #next: string | undefined;

  constructor(private readonly command: string) {}

  announce(folder: string): void {
    this.#next = folder;
    this.#running ??= this.#runAll();
  }

  /** Resolves when no command runs. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #runAll(): Promise<void> {
    for (let folder = this.#next; folder !== undefined; folder = this.#next) {
      this.#next = undefined;
      await this.#run(folder);
    }
    this.#running = undefined;
  }

  #run(folder: string): Promise<void> {
    const child = spawn('/bin/sh', ['-c', this.command], {
      stdio: 'inherit',
      env: { ...process.env, ROLLCALL_DIR: folder },
    });
    return new Promise((resolve) => {
      child.on('exit', (code) => {
        if (code !== 0) warn(`the command of --exec ended with ${code}`);
        resolve();
      });
      child.on('error', ({ message }) => {
        warn(`the command of --exec cannot be started: ${message}`);
        resolve();
      });
    });
  }
}
