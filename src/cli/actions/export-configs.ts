import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../gen/rollcall/v1/config.js';
import { contentOf } from '../contents.js';
import { formatToNote, writeGroup } from './config-folder.js';
import { CommandFailed, Exit } from '../exits.js';
import { makeFolder } from '../make-folder.js';
import { counted, drawProgress, eraseProgress } from '../output.js';
import type { Session } from '../session.js';
import { everyPage } from '../shown.js';

/** Contents that are fetched at a time. */
const FETCHES = 8;

/** Writes the configs of a namespace to files. */
export async function exportConfigs(
  { client, namespace, flags: { group = '' }, signal, say }: Session<{ group?: string }>,
  folder: string,
): Promise<void> {
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new CommandFailed(`${folder} is not empty: nothing was written`, Exit.USAGE);
  const { configs } = await everyPage(
    (page) => client.config.listConfigs({ ...page, namespace, group }, { signal }),
    'configs',
  );
  const heads = configs.filter(({ deleted }) => !deleted);
  const groups = new Map<string, Config[]>();
  for (let i = 0; i < heads.length; i += FETCHES) {
    const fetched = await Promise.all(
      heads
        .slice(i, i + FETCHES)
        .map(({ group: of, key }) => client.config.getConfig({ namespace, group: of, key }, { signal })),
    );
    for (const { config } of fetched) {
      const members = groups.get(config!.group);
      if (members) members.push(config!);
      else groups.set(config!.group, [config!]);
    }
    drawProgress(Math.min(i + FETCHES, heads.length), heads.length, 'config');
  }
  eraseProgress();
  makeFolder(folder);
  for (const [of, members] of groups) {
    const files = members.map((config) => {
      const format = formatToNote(config.key, config.format);
      const labels = Object.fromEntries(config.labels);
      return {
        group: of,
        key: config.key,
        content: contentOf(config),
        labels,
        ...(format !== undefined && { format }),
      };
    });
    makeFolder(join(folder, of));
    writeGroup(join(folder, of), files);
  }
  say(
    `${counted(heads.length, 'config')} of ${counted(groups.size, 'group')} ${heads.length === 1 ? 'is' : 'are'} in ${folder}\n`,
  );
}
