import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import { ALL_ALARMS } from '../../src/instruments.js';
import { REASONS } from '../../src/model/errors.js';
import { BEATS_PER_TTL, EXPIRY_TTLS, LIMITS, TTL_MS } from '../../src/model/limits.js';
import { accessSchema } from '../../scripts/access-schema.js';
import { metricsDoc } from '../../scripts/metrics.js';
import { settingsDoc, settingsSchema } from '../../scripts/settings.js';
import { SETTINGS } from '../../src/settings/settings.js';
import { variableOf } from '../../src/settings/sources.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name))
    .sort();

/** The languages that have an example. */
const LANGUAGES = readdirSync(join(root, 'examples'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
/** Every document for people. */
const DOCUMENTS = [
  ...['README.md', 'README.zh.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'RELEASING.md', 'SECURITY.md'],
  ...['clients/node/README.md', 'examples/README.md', ...LANGUAGES.map((name) => `examples/${name}/README.md`)],
  ...filesIn('docs', '.md'),
];
/** Files that documents name and that do not exist yet. */
const PLANNED = ['proto/released.binpb'];

/** A row of a table: its cells by the heads of their columns, without the marks of code. */
type Row = Readonly<Record<string, string>>;

/** Every row of the tables of a document whose first column has this head. */
function rows(path: string, firstHead: string): Row[] {
  const cellsOf = (line: string): string[] =>
    line
      .slice(1, line.lastIndexOf('|'))
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', ''));
  const found: Row[] = [];
  let heads: string[] | undefined;
  for (const line of read(path).split('\n')) {
    if (!line.startsWith('|')) heads = undefined;
    else if (!heads) heads = cellsOf(line);
    else if (heads[0] === firstHead && !/^\|[ :|-]+$/.test(line)) {
      const cells = cellsOf(line);
      assert.equal(cells.length, heads.length, `${path}: ${line}`);
      found.push(Object.fromEntries(heads.map((head, i) => [head, cells[i]!])));
    }
  }
  assert.ok(found.length > 0, `${path} has no table of ${firstHead}`);
  return found;
}

/** The value of a column by that of the first one. */
const column = (from: readonly Row[], key: string, head: string): Record<string, string> =>
  Object.fromEntries(from.map((row) => [row[key]!, row[head]!]));
const grouped = (n: number): string => n.toLocaleString('en');

test('docs/reference/errors.md shows every reason as the code has it, and no other', () => {
  const shown = rows('docs/reference/errors.md', 'Reason').filter(({ Code }) => Code !== undefined);
  assert.deepEqual(
    shown.map(({ Reason, Code, Retry, Meaning }) => [Reason, Code, Retry, Meaning]).sort(),
    Object.entries(REASONS)
      .map(([name, { code, retry, meaning }]) => [name, code, retry ? 'yes' : 'no', meaning])
      .sort(),
  );
  for (const row of shown) assert.match(row['What the client should do']!, /\w.*\.$/, row['Reason']);
});

test('docs/reference/errors.md shows every rejection of a heartbeat, every alarm and every exit code', () => {
  const rejections = rows('docs/reference/errors.md', 'Reason').filter(({ Code }) => Code === undefined);
  assert.deepEqual(
    rejections.map(({ Reason }) => `REJECTION_REASON_${Reason}`),
    Object.values(RejectionReason).filter(
      (name) => typeof name === 'string' && !['REJECTION_REASON_UNSPECIFIED', 'UNRECOGNIZED'].includes(name),
    ),
  );
  assert.deepEqual(
    column(rows('docs/reference/errors.md', 'Alarm'), 'Alarm', 'Meaning'),
    Object.fromEntries(ALL_ALARMS.map(({ name, meaning }) => [name, meaning])),
  );
  const exits = /const Exit = \{(.*)\} as const/s.exec(read('src/cli/exits.ts'))![1]!;
  assert.deepEqual(
    rows('docs/reference/errors.md', 'Code').map((row) => row['Code']),
    [...exits.matchAll(/: (\d+)/g)].map(([, code]) => code),
  );
});

test('docs/reference/limits.md shows every limit as the code has it, and no other', () => {
  assert.deepEqual(
    rows('docs/reference/limits.md', 'Limit')
      .map(({ Limit, Value, Unit, Why }) => [Limit, Value, Unit, Why])
      .sort(),
    Object.entries(LIMITS)
      .map(([name, { value, unit, reason }]) => [name, grouped(value), unit, reason])
      .sort(),
  );
});

test('docs/reference/limits.md shows times as the code has them', () => {
  for (const row of rows('docs/reference/limits.md', 'Name')) {
    const name = row['Name']!;
    const [, part] = /^TTL_MS\.(min|default|max)$/.exec(name) ?? [];
    const value = part ? TTL_MS[part as keyof typeof TTL_MS] : constant(row['Where']!, name);
    assert.equal(row['Milliseconds'], grouped(value), name);
  }
  const text = read('docs/reference/limits.md');
  assert.ok(text.includes(`\`BEATS_PER_TTL\` (${BEATS_PER_TTL})`));
  assert.ok(text.includes(`\`EXPIRY_TTLS\` (${EXPIRY_TTLS})`));
  for (const [path, names] of Object.entries({
    'src/domain/health/protection-times.ts': ['SEASON_TTLS'],
    'src/domain/health/protection-rule.ts': ['ALONE_COUNT'],
    'src/domain/health/extent.ts': ['PERCENT', 'INSTANCES', 'SERVICES'],
  }))
    for (const name of names) assert.ok(text.includes(`\`${name}\` (${constant(path, name)})`), name);
});

/** A number that a source file gives a name, such as "const TICK_MS = 50;" or "'grpc.keepalive_time_ms': 20_000,". */
function constant(path: string, name: string): number {
  const [, text] = new RegExp(`\\b${name.replaceAll('.', '\\.')}'?(?: =|:) ([\\d_ *]+)[,;]`).exec(read(path)) ?? [];
  assert.ok(text, `${path} has no number ${name}`);
  return text.split('*').reduce((product, factor) => product * Number(factor.replaceAll('_', '')), 1);
}

test('docs/reference/guarantee-tests.md is up to date, and every promise has a test', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/guarantees.js', '--check'], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

test('every promise that a test title begins with is one of docs/reference/guarantees.md', () => {
  const promises = new Set(
    [...read('docs/reference/guarantees.md').matchAll(/^### ([A-Z]+\d+) /gm)].map(([, id]) => id!),
  );
  const named = filesIn('test', '.ts').flatMap((path) =>
    [...read(path).matchAll(/\b(?:test|check)\(\s*['"`]((?:[CWEIS]\d+[ :]+)+)/g)].flatMap(([, ids]) =>
      ids!.match(/[A-Z]\d+/g)!.map((id) => [id, path] as const),
    ),
  );
  assert.ok(named.length > 20, 'test titles begin with what they hold');
  for (const [id, path] of named) assert.ok(promises.has(id), `${path}: ${id}`);
});

test('every test that docs/internals/track-record.md names exists', () => {
  const faults = rows('docs/internals/track-record.md', 'Date');
  for (const { Date: date, Test } of faults) {
    assert.match(date!, /^\d{4}-\d{2}-\d{2}$/);
    const [, title, path] = /^(.+) in \[[^\]]+\]\(\.\.\/\.\.\/([^)]+)\)$/.exec(Test!) ?? [];
    assert.ok(path, `${Test} names a test and its file`);
    assert.ok(titlesIn(path).includes(title!), `${path} has no test "${title}"`);
  }
});

/** The titles of the tests of a file. A value that a title takes at run time is "...". */
function titlesIn(path: string): string[] {
  return [...read(path).matchAll(/\btest\(\s*(?:'((?:[^'\\]|\\.)+)'|`([^`]+)`),/g)].map(([, plain, template]) =>
    (plain?.replaceAll("\\'", "'") ?? template!).replaceAll('`', '').replaceAll(/\$\{[^}]*\}/g, '...'),
  );
}

test('every path of the repository that a document names exists', () => {
  for (const path of PLANNED) assert.ok(!existsSync(join(root, path)), `${path} exists: take it off the list`);
  for (const document of DOCUMENTS)
    for (const [, path] of withoutCode(read(document)).matchAll(
      /`((?:src|proto|test|docs|scripts|bench)\/[\w./-]*\w)`/g,
    ))
      assert.ok(
        [root, join(root, dirname(document))].some((from) => existsSync(join(from, path!))) || PLANNED.includes(path!),
        `${document} names ${path}`,
      );
});

test('every log line that the documents quote is one of src', () => {
  const sources = filesIn('src', '.ts').map(read).join('\n');
  const quoted = DOCUMENTS.flatMap((path) => [...read(path).matchAll(/log line "([^"]+)"/g)].map(([, line]) => line!));
  assert.ok(quoted.length > 0);
  for (const line of quoted) assert.ok(sources.includes(`'${line}`), line);
});

test('every relative link of the documents leads to a file, and to a heading where it names one', () => {
  let links = 0;
  for (const document of DOCUMENTS) {
    const text = withoutCode(read(document));
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue;
      const [path, heading] = link!.split('#');
      const target = path ? relative(root, join(root, dirname(document), path)) : document;
      assert.ok(existsSync(join(root, target)), `${document} links to ${link}`);
      if (heading) assert.ok(anchorsOf(target).includes(heading), `${document} links to ${link}`);
      links++;
    }
  }
  assert.ok(links > 20);
});

const withoutCode = (markdown: string): string => markdown.replace(/^```[^]*?^```$/gm, '');
const anchorsOf = (path: string): string[] =>
  [...withoutCode(read(path)).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

test('docs/reference/settings.md, metrics.md and the schemas of files are as npm run docs writes them', async () => {
  assert.equal(await settingsDoc(), read('docs/reference/settings.md'));
  assert.equal(await settingsSchema(), read('docs/reference/settings.schema.json'));
  assert.equal(await accessSchema(), read('docs/reference/access.schema.json'));
  assert.equal(await metricsDoc(), read('docs/reference/metrics.md'));
});

test('README and the quickstart name no variable, and no flag of the server, that does not exist', () => {
  const text = read('README.md') + read('docs/quickstart.md');
  const variables = new Set(Object.keys(SETTINGS).map(variableOf));
  for (const [variable] of text.matchAll(/ROLLCALL_[A-Z_]+/g)) assert.ok(variables.has(variable), variable);
  const commands = [...text.matchAll(/(?:npm start --|main\.js (?:serve|store new-epoch)) (.*?)(?=[`\n])/g)];
  assert.ok(commands.length > 0);
  for (const [, args] of commands) {
    for (const [, flag] of args!.matchAll(/--([a-z-]+)/g))
      assert.ok(flag! in SETTINGS || flag === 'print-settings', `--${flag}`);
  }
});

test('docs/internals/architecture.md says who may import whom as the linter holds it', () => {
  interface Rule {
    name: string;
    to: { pathNot?: string[] };
  }
  const { forbidden } = createRequire(import.meta.url)('../../.dependency-cruiser.cjs') as { forbidden: Rule[] };
  const folderOf = (pattern: string): string => /^\^src\/(.*)\(/.exec(pattern)![1]!;
  const held = forbidden
    .filter(({ name }) => name.endsWith('-imports-only-what-lies-below'))
    .map(({ to }) => to.pathNot!.map(folderOf))
    .map(([folder, ...allowed]) => [folder!, allowed.join(', ') || 'nothing']);
  assert.deepEqual(
    column(rows('docs/internals/architecture.md', 'Folder'), 'Folder', 'May import'),
    Object.fromEntries(held),
  );
});

test('every decision has a status, a date, its four parts, a number of its own, and a link in docs/internals/architecture.md', () => {
  const architecture = read('docs/internals/architecture.md');
  const decisions = filesIn('docs/adr', '.md');
  decisions.forEach((path, i) => {
    const text = read(path);
    const number = /\/(\d{4})-[a-z0-9-]+\.md$/.exec(path)?.[1];
    assert.equal(Number(number), i + 1, path);
    assert.match(text, new RegExp(`^# ${i + 1}\\. \\S`), path);
    assert.match(text, /^Status: (proposed|accepted|superseded by \[ADR \d+\]\([^)]+\))$/m, path);
    const [, date] = /^Date: (\d{4}-\d{2}-\d{2})$/m.exec(text) ?? [];
    assert.ok(date && !Number.isNaN(Date.parse(date)), `${path} has a date`);
    const parts = [...text.matchAll(/^## (.+)$/gm)].map(([, part]) => part);
    assert.deepEqual(parts, ['Context', 'Options', 'Decision', 'Consequences'], path);
    assert.ok(architecture.includes(`](${relative('docs/internals', path)})`), path);
  });
  assert.ok(decisions.length > 0);
});
