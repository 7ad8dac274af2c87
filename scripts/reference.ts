// Makes the pages of docs/reference that are written by hand above a mark, and from the code below it.
import { readFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';

const MARK = '<!-- Everything below is written by npm run docs. -->';

/** The whole text of such a page: what it has above the mark, and then the sections. */
export async function referencePage(page: URL, sections: readonly string[]): Promise<string> {
  const [above] = readFileSync(page, 'utf8').split(MARK);
  return formatted(page, 'markdown', `${[above!.trimEnd(), MARK, ...sections].join('\n\n')}\n`);
}

/** A text as the formatter of the project leaves it. */
export const formatted = async (file: URL, parser: 'markdown' | 'json', text: string): Promise<string> =>
  format(text, { ...(await resolveConfig(file)), parser });

/** A table of Markdown. */
export const table = (columns: readonly string[], rows: readonly (readonly string[])[]): string =>
  [columns, columns.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

/** Returns true if a module is the program that runs, and not imported by another. */
export const isProgram = (url: string): boolean => process.argv[1] === new URL(url).pathname;
