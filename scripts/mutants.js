// Breaks each promise of docs/reference/guarantees.md on purpose and checks that a test fails.
//
// `npm run mutants [-- NAME...]` applies the patches of test/mutants one at a time to a copy of the tree. It runs the
// tests that the patch names, and prints those that fail. A mutant that survives fails the run. So does a mutant that
// proves nothing: a patch that does not apply, or tests that fail without it. `--check` only checks that every patch
// applies and that every promise has a mutant.
//
// A patch begins with one sentence that says what is broken. These lines follow:
//   Breaks: W2                                 the promises: numbers of docs/reference/guarantees.md
//   Run: test/unit/api/watch/hub.test.ts       the test files that must fail, with spaces between them
//   Only: W2                                   optional: the pattern of the names of the tests to run
//   Env: ROLLCALL_SIM_SEEDS=60                 optional: variables of the tests
//   Needs: build                               optional: the tests start the built server
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sections } from './guarantees.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'test/mutants');
/** Every promise. Each must have a mutant, or a line "No mutant: ..." in guarantees.md that says why there is none. */
const PROMISES = sections().filter(({ id }) => id);
/** Far longer than any of the tests takes: a mutant that makes them hang is noticed too. */
const RUN_MAX_MS = 120_000;
/** The same for the run without a mutant, which runs many files whole. */
const BASELINE_MAX_MS = 600_000;

/** Reads what the header of a patch says. */
function readPatch(file) {
  const lines = readFileSync(join(folder, file), 'utf8')
    .split(/^diff --git /m)[0]
    .split('\n');
  const value = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? '';
  const words = (name) => value(name).split(' ').filter(Boolean);
  const patch = {
    name: basename(file, '.patch'),
    file: join(folder, file),
    breaks: words('Breaks'),
    run: words('Run'),
    only: value('Only'),
    env: words('Env'),
    build: value('Needs') === 'build',
  };
  const missing = patch.run.filter((name) => !existsSync(join(root, name)));
  if (patch.breaks.length === 0 || patch.run.length === 0)
    throw new Error(`${file} does not say what it breaks or runs`);
  if (missing.length > 0) throw new Error(`${file} runs what is not there: ${missing.join(', ')}`);
  return patch;
}

/** Returns why a patch does not apply to a tree. `undefined` if it applies. */
function apply(tree, { file }, ...options) {
  const { status, stderr } = spawnSync('git', ['apply', ...options, file], { cwd: tree, encoding: 'utf8' });
  return status === 0 ? undefined : stderr.trim().split('\n')[0];
}

/** Makes a copy of the working tree, committed or not, so that patches change nothing in the tree itself. */
function copyTree() {
  const tree = mkdtempSync(join(tmpdir(), 'rollcall-mutants-'));
  process.once('exit', () => rmSync(tree, { recursive: true, force: true }));
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  for (const name of new Set(listed.toString().split('\0'))) {
    if (!name || name === 'node_modules' || !existsSync(join(root, name))) continue;
    mkdirSync(dirname(join(tree, name)), { recursive: true });
    cpSync(join(root, name), join(tree, name));
  }
  cpSync(join(root, 'src/gen'), join(tree, 'src/gen'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  return tree;
}

/** Builds the server of a tree, whose src/gen exists. Returns the first error. `undefined` if the build succeeds. */
function build(tree) {
  rmSync(join(tree, 'dist'), { recursive: true, force: true });
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
    cwd: tree,
    encoding: 'utf8',
  });
  if (status !== 0) return stdout.trim().split('\n')[0];
  cpSync(join(tree, 'src/gen/image.binpb'), join(tree, 'dist/gen/image.binpb'));
  return undefined;
}

/** Runs the tests of a patch. `fell` names those that failed, `passed` counts the others. */
async function runTests(tree, { run, only, env }, maxMs = RUN_MAX_MS) {
  const options = ['--import', 'tsx', '--test', '--test-reporter=tap'];
  if (only) options.push(`--test-name-pattern=${only}`);
  // In a process group of its own, so that whatever the tests have started can be ended with them.
  const child = spawn(process.execPath, [...options, ...run], {
    cwd: tree,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...Object.fromEntries(env.map((one) => one.split('='))) },
  });
  let output = '';
  child.stdout.on('data', (bytes) => (output += bytes));
  let timedOut = false;
  const kill = () => process.kill(-child.pid, 'SIGKILL');
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, maxMs);
  process.once('exit', kill);
  const status = await new Promise((resolve) => child.on('close', resolve));
  process.off('exit', kill);
  clearTimeout(timer);
  const named = (result) =>
    [...output.matchAll(new RegExp(`^${result} \\d+ - (.*)$`, 'gm'))]
      .map(([, name]) => name)
      .filter((name) => !/ # (SKIP|TODO)/.test(name));
  const fell = named('not ok').map((name) => name.replaceAll('\\', ''));
  return { status, timedOut, fell, passed: named('ok').length, output };
}

/** Tries one mutant. Returns whether a test noticed it, and which. */
async function tryMutant(tree, patch) {
  const refused = apply(tree, patch);
  if (refused) return { ok: false, by: `DOES NOT APPLY: ${refused}` };
  try {
    const failed = patch.build ? build(tree) : undefined;
    if (failed) return { ok: false, by: `DOES NOT BUILD: ${failed}` };
    const { status, timedOut, fell, output } = await runTests(tree, patch);
    if (timedOut) return { ok: true, by: `time: over ${RUN_MAX_MS / 1000} s` };
    if (status === 0) return { ok: false, by: 'SURVIVED' };
    // A file that does not load fails as a whole, under its own name: that says nothing about what it tests.
    const loaded = fell.some((name) => !name.endsWith('.test.ts'));
    const world = /^ *seed (\d+: \w+)/m.exec(output)?.[1];
    return loaded
      ? { ok: true, by: (world ? [`world ${world}`] : fell).join('; ') }
      : { ok: false, by: `DOES NOT LOAD: ${fell.join('; ')}` };
  } finally {
    apply(tree, patch, '-R');
  }
}

/**
 * Runs the tests without a mutant, and throws if one fails: a failure counts only if the test passes without the mutant.
 * Files run whole and together, which is faster than one run per mutant. Tests that need the server are slow, so only the
 * named ones run.
 */
async function checkBaseline(tree, patches) {
  const failed = patches.some((patch) => patch.build) ? build(tree) : undefined;
  if (failed) throw new Error(`the tree does not build: ${failed}`);
  const runs = new Map();
  for (const { run, only, env, build } of patches) {
    const key = JSON.stringify([env, build && only]);
    const known = runs.get(key) ?? { run: [], only: build ? only : '', env };
    runs.set(key, { ...known, run: [...new Set([...known.run, ...run])] });
  }
  for (const together of runs.values()) {
    const { status, timedOut, fell, passed, output } = await runTests(tree, together, BASELINE_MAX_MS);
    if (status === 0 && passed > 0) continue;
    console.error(output);
    throw new Error(`without a mutant: ${together.run.join(' ')}: ${timedOut ? 'timed out' : fell.join('; ')}`);
  }
}

function table(rows) {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map(([a, b, c]) => `${a.padEnd(widths[0])}  ${b.padEnd(widths[1])}  ${c}`).join('\n');
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

const names = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
const all = readdirSync(folder)
  .filter((file) => file.endsWith('.patch'))
  .sort()
  .map(readPatch);
const patches = names.length > 0 ? all.filter(({ name }) => names.includes(name)) : all;
const problems = [
  ...names.filter((name) => !all.some((patch) => patch.name === name)).map((name) => `there is no mutant ${name}`),
  ...PROMISES.flatMap(({ id, noMutant }) => {
    const broken = all.some(({ breaks }) => breaks.includes(id));
    if (!broken && !noMutant) return [`no mutant breaks ${id}`];
    return broken && noMutant ? [`${id} has a mutant, and guarantees.md says that it has none`] : [];
  }),
  ...all.flatMap(({ name, breaks }) =>
    breaks
      .filter((id) => /^[A-Z]+\d+$/.test(id) && !PROMISES.some((promise) => promise.id === id))
      .map((id) => `${name} breaks ${id}, which is no promise`),
  ),
];

if (process.argv.includes('--check')) {
  for (const patch of patches) {
    const refused = apply(root, patch, '--check');
    if (refused) problems.push(`${patch.name} does not apply: ${refused}`);
  }
} else if (patches.length > 0) {
  const tree = copyTree();
  try {
    await checkBaseline(tree, patches);
    const rows = [['guarantee', 'mutant', 'fell by']];
    for (const patch of patches) {
      const { ok, by } = await tryMutant(tree, patch);
      console.log(`${patch.breaks.join(' ')}: ${patch.name}: ${by}`);
      rows.push([patch.breaks.join(' '), patch.name, by]);
      if (!ok) problems.push(`${patch.name}: ${by}`);
    }
    console.log(`\n${table(rows)}`);
  } catch (error) {
    problems.push(error.message);
  }
}
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
