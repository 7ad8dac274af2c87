import { styleText } from 'node:util';

/** The forms in which a command prints its result. */
export const FORMATS = ['table', 'json', 'yaml'] as const;
export type Format = (typeof FORMATS)[number];

/** A cell of a table: a text, or one in a color. */
export type Cell = string | { readonly text: string; readonly color: 'green' | 'yellow' | 'red' | 'gray' | 'bold' };

/** Texts are colored on a terminal, unless NO_COLOR is set: https://no-color.org. */
export const hasColors = (): boolean => process.stdout.isTTY && !process.env['NO_COLOR'];

const textOf = (cell: Cell): string => (typeof cell === 'string' ? cell : cell.text);

function paint(cell: Cell, width: number, colors: boolean): string {
  const padded = textOf(cell).padEnd(width);
  return typeof cell === 'string' || !colors ? padded : styleText(cell.color, padded);
}

/** Rows in columns. The titles are printed on a terminal and in a pipe alike, so that both look the same to a script. */
export function table(titles: readonly string[], rows: readonly (readonly Cell[])[], colors = hasColors()): string {
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map((row) => textOf(row[i] ?? '').length)));
  const head = titles.map((title): Cell => ({ text: title, color: 'bold' }));
  return [head, ...rows]
    .map((row) => row.map((cell, i) => paint(cell, i === row.length - 1 ? 0 : widths[i]!, colors)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Pairs of a name and a value, one below the other. Pairs without a value are left out. */
export function list(pairs: readonly (readonly [name: string, value: Cell | undefined])[]): string {
  const shown = pairs.filter(
    (pair): pair is readonly [string, Cell] => pair[1] !== undefined && textOf(pair[1]) !== '',
  );
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  const colors = hasColors();
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${paint(value, 0, colors)}\n`).join('');
}

const UNITS: readonly (readonly [ms: number, unit: string])[] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1_000, 's'],
];

/** How long ago a moment was, such as "5 m ago". Moments in the future, of clocks that differ, are "now". */
export function ago(ms: number, nowMs = Date.now()): string {
  const passed = nowMs - ms;
  return passed < 1_000 ? 'now' : `${span(passed)} ago`;
}

/** A time in its largest whole unit, such as "5 m". */
export function span(ms: number): string {
  const [size, unit] = UNITS.find(([least]) => ms >= least) ?? [1_000, 's'];
  return `${Math.floor(ms / size)} ${unit}`;
}

/** A number of things, such as "1 service" and "2 services". */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Bytes for a person. */
export function bytes(count: number): string {
  if (count < 1_024) return `${count} B`;
  if (count < 1_024 * 1_024) return `${(count / 1_024).toFixed(1)} KiB`;
  return `${(count / 1_024 / 1_024).toFixed(1)} MiB`;
}

/** Prints a line beside the result: to standard error, so that a pipe does not get it. */
export const warn = (text: string): void => void process.stderr.write(`rollcall: ${text}\n`);

/** Characters of a progress bar. */
const BAR = 24;

/** Draws the progress of long work on a terminal, in one line that the next one replaces. */
export function drawProgress(done: number, total: number, noun: string): void {
  if (!process.stderr.isTTY) return;
  const filled = total === 0 ? BAR : Math.floor((done / total) * BAR);
  const bar = `[${'#'.repeat(filled)}${' '.repeat(BAR - filled)}] ${done} of ${counted(total, noun)}`;
  process.stderr.write(`\r${bar}\x1b[K`);
}

/** Erases the progress, before anything else is printed. */
export const eraseProgress = (): void => void (process.stderr.isTTY && process.stderr.write('\r\x1b[K'));

/** Text of a stranger in one line of a terminal: without control characters, which could move its cursor. */
export const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, '\u00b7');

/** The examples at the end of a help. */
export const example = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`;
