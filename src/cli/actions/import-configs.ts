import { createHash } from 'node:crypto';
import { type Config, ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { CallError } from '../../client/call-error.js';
import { LIMITS } from '../../model/limits.js';
import { assertNotPublished, draftContent } from '../contents.js';
import { type FileConfig, formatIn, readGroups } from './config-folder.js';
import { CommandFailed, Exit } from '../exits.js';
import { drawProgress, eraseProgress, plain, warn } from '../output.js';
import type { Session } from '../session.js';
import { everyPage } from '../shown.js';

/** Publishes the files of a folder that differ from their configs. Nothing is deleted. */
export async function importConfigs(
  {
    client,
    namespace,
    flags: { comment = '', dryRun = false },
    signal,
    say,
  }: Session<{ comment?: string; dryRun?: boolean }>,
  folder: string,
): Promise<void> {
  const { configs, ignored } = readGroups(folder);
  for (const path of ignored)
    warn(`${path} is left out: only files in the folder of a group are configs, and neither hidden ones nor links`);
  const { configs: heads } = await everyPage(
    (page) => client.config.listConfigs({ ...page, namespace }, { signal }),
    'configs',
  );
  const current = new Map(heads.map((config) => [`${config.group}/${config.key}`, config]));
  const changed = configs.filter((file) => differs(file, current.get(`${file.group}/${file.key}`)));
  for (const { group, key } of changed) {
    const before = current.get(`${group}/${key}`);
    say(`${before && !before.deleted ? '~' : '+'} ${group}/${key}\n`);
  }
  say(`${configs.length - changed.length} of ${configs.length} files are unchanged\n`);
  const batches = batchesOf(changed);
  let done = 0;
  let refused = 0;
  let conflicts = 0;
  for (const batch of batches) {
    drawProgress(done, changed.length, 'config');
    const [{ group }] = batch as [FileConfig];
    const drafts = batch.map((file) => ({
      key: file.key,
      content: draftContent(file.content),
      format: formatIn(file.format, `${file.group}/${file.key}`),
      labels: new Map(Object.entries(file.labels ?? {})),
      expectedVersion: current.get(`${file.group}/${file.key}`)?.version ?? 0n, // somebody else's edit in between is not lost
    }));
    const request = { namespace, group, comment, configs: drafts, validateOnly: dryRun };
    const answer = await client.config.publishConfig(request, { signal }).catch((error: unknown) => {
      eraseProgress();
      const named = withFiles(error, batch);
      if (!dryRun || !(named instanceof CallError && REFUSALS.has(named.reason))) throw named;
      refused++;
      if (named.reason === CONFLICT) conflicts++;
      warn(plain(named.message));
      return undefined;
    });
    if (dryRun) assertNotPublished(answer);
    done += batch.length;
    eraseProgress();
    for (const warning of answer?.warnings ?? []) warn(plain(withFileNames(warning, batch)));
    if (!dryRun)
      say(
        `${batch.length} configs of ${group} are published, revision ${answer!.revision} (${done} of ${changed.length})\n`,
      );
  }
  if (!dryRun) return;
  if (refused > 0) {
    const exit = refused === conflicts ? Exit.CONFLICT : Exit.FAILED;
    throw new CommandFailed(`${refused} of ${batches.length} revisions would be refused`, exit);
  }
  say(`${changed.length} would be published, in ${batches.length} revisions\n`);
}

const CONFLICT = 'VERSION_MISMATCH';
/** The reasons of errors that are about the configs: with --dry-run the other files are checked all the same. */
const REFUSALS: ReadonlySet<string> = new Set(['INVALID_REQUEST', CONFLICT, 'TOO_MANY_CONFIGS']);

const labelsOf = (labels: ReadonlyMap<string, string>): string => JSON.stringify([...labels].sort());

function differs(file: FileConfig, config: Config | undefined): boolean {
  if (!config || config.deleted) return true;
  const format = formatIn(file.format, file.key);
  return (
    createHash('sha256').update(file.content).digest('hex') !== config.sha256 ||
    (format !== ConfigFormat.CONFIG_FORMAT_UNSPECIFIED && format !== config.format) ||
    labelsOf(new Map(Object.entries(file.labels ?? {}))) !== labelsOf(config.labels)
  );
}

/** Configs of one group each, as many as one publish may have. */
function batchesOf(files: readonly FileConfig[]): FileConfig[][] {
  const batches: FileConfig[][] = [];
  let size = 0;
  for (const file of files) {
    const last = batches.at(-1);
    const own = file.content.length + JSON.stringify(file.labels ?? {}).length;
    if (
      !last ||
      last[0]!.group !== file.group ||
      last.length >= LIMITS.PUBLISH_CONFIGS.value ||
      size + own > LIMITS.PUBLISH_BYTES.value
    ) {
      batches.push([file]);
      size = own;
    } else {
      last.push(file);
      size += own;
    }
  }
  return batches;
}

/** An error that names files where it names the configs of a publish by their number. */
function withFiles(error: unknown, batch: readonly FileConfig[]): unknown {
  if (!(error instanceof CallError)) return error;
  const text = withFileNames(error.message, batch);
  return new CallError(text, error.code, error.reason, error.metadata, error.violations, error.retryAfterMs);
}

const withFileNames = (text: string, batch: readonly FileConfig[]): string =>
  text.replace(/configs\[(\d+)\]/g, (place, i: string) => {
    const file = batch[Number(i)];
    return file ? `${file.group}/${file.key}` : place;
  });
