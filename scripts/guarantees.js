// Writes docs/reference/guarantee-tests.md: for each promise of docs/reference/guarantees.md the tests that hold it and
// the mutants that break it. `npm run docs` writes the page; with --check it only fails when the page is out of date.
//
// A test belongs to the promises that its title begins with, such as "W3: a token ..." or "C1 C3: kill -9 ...". A mutant
// belongs to the promises that its line "Breaks:" names. A section of guarantees.md without a number may name a test file
// in a line "Tests: [PATH](LINK)"; all tests of that file are listed for it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const GUARANTEES = 'docs/reference/guarantees.md';
const PAGE = 'docs/reference/guarantee-tests.md';
const read = (path) => readFileSync(join(root, path), 'utf8');
const filesIn = (folder, ending) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => `${folder}/${name}`)
    .sort();

/** The anchor that GitHub gives a heading. */
const anchorOf = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

/**
 * Every section of guarantees.md that tests belong to, in its order. `id` is the number of a promise, and `undefined` for
 * a section that names a test file instead. `noMutant` is the reason why a promise has no mutant, if the page gives one.
 */
export function sections() {
  return read(GUARANTEES)
    .split(/^(?=##+ )/m)
    .flatMap((text) => {
      const [, heading] = /^##+ (.+)$/m.exec(text) ?? [];
      const [, id] = /^([A-Z]+\d+) /.exec(heading ?? '') ?? [];
      const [, file] = /^Tests: \[([^\]]+)\]/m.exec(text) ?? [];
      const [, noMutant] = /^No mutant: (.+)$/m.exec(text) ?? [];
      return id || file ? [{ heading, id, file, noMutant }] : [];
    });
}

/** The titles of the tests of a file. A value that a title takes at run time is shown as "...". */
function titlesIn(path) {
  return [
    ...read(path).matchAll(/\b(?:test|check)\(\s*(?:'((?:[^'\\]|\\.)+)'|"([^"]+)"|`([^`]*[a-z]{2} [^`]*)`),/g),
  ].map(([, single, double, template]) =>
    (single?.replaceAll("\\'", "'") ?? double ?? template).replaceAll(/\$\{[^}]*\}/g, '...'),
  );
}

/** The numbers that a title begins with. A title may begin with the kind of what is tested: "...: S1 the revision". */
const numbersOf = (title) => /^(?:\.\.\.: )?((?:[A-Z]+\d+[ :]+)+)/.exec(title)?.[1].match(/[A-Z]+\d+/g) ?? [];

/** The name, the promises and the first sentence of every mutant. */
function mutants() {
  return filesIn('test/mutants', '.patch').map((path) => {
    const [header] = read(path).split(/^diff --git /m);
    return {
      path,
      name: basename(path, '.patch'),
      breaks: /^Breaks: (.+)$/m.exec(header)?.[1].split(' ') ?? [],
      what: header
        .split(/\n\n|^Breaks:/m)[0]
        .trim()
        .replaceAll('\n', ' '),
    };
  });
}

const linkTo = (path, text = path) => `[${text}](../../${path})`;

function sectionOf({ heading, id, file }, tests, patches) {
  const own = tests.filter(({ path, ids }) => (id ? ids.includes(id) : path === file));
  const byFile = grouped(own);
  const broken = patches.filter(({ breaks }) => breaks.includes(id));
  const lines = [`## ${id ?? heading}`, '', `[${heading}](guarantees.md#${anchorOf(heading)})`, ''];
  for (const [path, these] of byFile) {
    lines.push(`- ${linkTo(path)}`);
    for (const { title } of these) lines.push(`  - \`${title}\``);
  }
  if (broken.length > 0) {
    lines.push('', '<details>', `<summary>Mutants: ${broken.length}</summary>`, '');
    for (const { path, name, what } of broken) lines.push(`- ${linkTo(path, name)}: ${what}`);
    lines.push('', '</details>');
  }
  return { count: own.length, text: `${lines.join('\n')}\n` };
}

function grouped(tests) {
  const groups = new Map();
  for (const one of tests) groups.set(one.path, [...(groups.get(one.path) ?? []), one]);
  return groups;
}

const INTRODUCTION = `<!-- Written by scripts/guarantees.js (npm run docs). Do not edit. -->

# Tests of the guarantees

This page lists the tests that fail when a promise of [guarantees.md](guarantees.md) is broken. A test belongs to a promise
when its title begins with the number of the promise. "..." stands for a value that the title takes at run time.

A mutant is a patch that breaks a promise on purpose. \`npm run mutants\` checks that the tests notice each of them.
`;

/** Makes the page, and finds promises without a test. */
function page() {
  const tests = filesIn('test', '.ts').flatMap((path) =>
    titlesIn(path).map((title) => ({ path, title, ids: numbersOf(title) })),
  );
  const patches = mutants();
  const written = sections().map((section) => ({ section, ...sectionOf(section, tests, patches) }));
  const problems = written
    .filter(({ count }) => count === 0)
    .map(({ section }) => `no test holds ${section.id ?? section.heading}`);
  return { text: [INTRODUCTION, ...written.map(({ text }) => text)].join('\n'), problems };
}

function main() {
  const { text, problems } = page();
  if (!process.argv.includes('--check')) writeFileSync(join(root, PAGE), text);
  else if (read(PAGE) !== text) problems.push(`${PAGE} is out of date: run "npm run docs"`);
  for (const problem of problems) console.error(problem);
  process.exit(problems.length > 0 ? 1 : 0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
