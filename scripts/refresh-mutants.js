// Rewrites the patches of test/mutants that no longer apply because their lines moved: `node scripts/refresh-mutants.js`.
// A hunk is found again by its changed lines, indentation apart, in its own file first and then in all of src. Where
// several places match, the one whose neighbors resemble the old context wins. Patches whose lines have changed
// themselves are listed and must be rewritten by hand.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'test/mutants');
/** How many lines around a change are compared to choose among several places. */
const NEIGHBORS = 6;

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.startsWith('gen/'))
  .map((name) => `src/${name}`);
const linesOf = (path) => readFileSync(join(root, path), 'utf8').split('\n');
const indentOf = (line) => /^ */.exec(line)[0].length;

/** The hunks of a patch, each with its file and its tagged lines. */
function hunksOf(text) {
  const hunks = [];
  let file;
  for (const line of text.split('\n')) {
    if (line.startsWith('--- a/')) file = line.slice(6);
    else if (line.startsWith('@@')) hunks.push({ file, lines: [] });
    else if (hunks.length > 0 && /^[ +-]/.test(line) && !line.startsWith('+++')) hunks.at(-1).lines.push(line);
    else if (line.startsWith('diff --git')) file = undefined;
  }
  return hunks;
}

/** The changed lines of a hunk with what is between them, and the context around them. */
function coreOf({ lines }) {
  const changed = lines.flatMap((line, i) => (line.startsWith(' ') ? [] : [i]));
  let first = changed[0];
  // A change that only adds is anchored to the line before it.
  if (!lines.some((line) => line.startsWith('-'))) while (first > 0 && !lines[first].startsWith(' ')) first--;
  const last = changed.at(-1);
  const text = (part, drop) => part.filter((line) => !line.startsWith(drop)).map((line) => line.slice(1));
  const core = lines.slice(first, last + 1);
  return {
    old: text(core, '+'),
    new: text(core, '-'),
    before: text(lines.slice(0, first), '+'),
    after: text(lines.slice(last + 1), '+'),
  };
}

/** Every place in a file where the old lines are, with a score of how alike its neighbors are. */
function placesIn(path, { old, before, after }) {
  const lines = linesOf(path);
  const wanted = old.map((line) => line.trim());
  const places = [];
  for (let at = 0; at + wanted.length <= lines.length; at++) {
    if (!wanted.every((line, i) => lines[at + i].trim() === line)) continue;
    const near = new Set(lines.slice(Math.max(0, at - NEIGHBORS), at + wanted.length + NEIGHBORS).map((l) => l.trim()));
    const score = [...before, ...after].filter((line) => line.trim().length > 2 && near.has(line.trim())).length;
    places.push({ path, at, score });
  }
  return places;
}

function find(hunk, core) {
  for (const paths of [[hunk.file], sources]) {
    const places = paths.filter((path) => sources.includes(path)).flatMap((path) => placesIn(path, core));
    places.sort((a, b) => b.score - a.score);
    if (places.length === 1 || (places.length > 1 && places[0].score > places[1].score)) return places[0];
  }
  return undefined;
}

/** The hunks made again where their lines are now. `undefined` if one was not found. */
function refreshed(text) {
  const files = new Map();
  for (const hunk of hunksOf(text)) {
    const core = coreOf(hunk);
    const place = find(hunk, core);
    if (!place) return undefined;
    const original = linesOf(place.path);
    const lines = files.get(place.path) ?? [...original];
    const shift = indentOf(original[place.at]) - indentOf(core.old[0]);
    const indented = core.new.map((line) =>
      line.trim() === '' ? line : ' '.repeat(Math.max(0, indentOf(line) + shift)) + line.trimStart(),
    );
    const moved = lines.length - original.length; // by the hunks before
    lines.splice(place.at + moved, core.old.length, ...indented);
    files.set(place.path, lines);
  }
  return [...files].map(([path, lines]) => diffOf(path, lines.join('\n'))).join('');
}

function diffOf(path, changed) {
  const work = mkdtempSync(join(tmpdir(), 'rollcall-refresh-'));
  try {
    const file = join(work, 'changed.ts');
    writeFileSync(file, changed);
    const { stdout } = spawnSync(
      'diff',
      ['-u', '-p', '--label', `a/${path}`, '--label', `b/${path}`, join(root, path), file],
      {
        encoding: 'utf8',
      },
    );
    return `diff --git a/${path} b/${path}\n${stdout}`;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const lost = [];
for (const name of readdirSync(folder)
  .filter((file) => file.endsWith('.patch'))
  .sort()) {
  const path = join(folder, name);
  const applies = () => spawnSync('git', ['apply', '--check', path], { cwd: root }).status === 0;
  if (applies()) continue;
  const text = readFileSync(path, 'utf8');
  const header = text.split(/^diff --git /m)[0];
  const hunks = refreshed(text);
  if (hunks) writeFileSync(path, header + hunks);
  if (hunks && applies()) console.log(`${name}: written again`);
  else {
    writeFileSync(path, text);
    lost.push(name);
  }
}
for (const name of lost) console.error(`${name}: its lines have changed; rewrite it by hand`);
process.exit(lost.length > 0 ? 1 : 0);
