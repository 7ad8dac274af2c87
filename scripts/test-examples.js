// Builds the examples as their READMEs say, and runs them side by side: `npm run test:examples [-- LANGUAGE...]`. A language
// whose tools are missing is left out, and named; with names given, it fails instead.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The programs that an example is built with. C# is not built: the project has no test with .NET. */
const TOOLS = {
  node: [],
  go: ['go', 'protoc'],
  python: ['python3'],
  java: ['java', 'javac', 'mvn'],
  rust: ['cargo', 'protoc'],
  cpp: ['g++', 'make', 'pkg-config', 'protoc', 'grpc_cpp_plugin'],
  ruby: ['ruby', 'grpc_tools_ruby_protoc'],
};

const isOnPath = (program) => process.env.PATH.split(delimiter).some((folder) => existsSync(join(folder, program)));

/** Builds at a time: some wait for the network, others for a processor. */
const BUILDS = 2;

/** The shell block of a section of a README. */
function blockOf(readme, section) {
  const [, block] = new RegExp(`^## ${section}\\n[^]*?\`\`\`sh\\n([^]*?)\`\`\``, 'm').exec(readme) ?? [];
  if (block === undefined) throw new Error(`no block of shell below "## ${section}"`);
  return block;
}

const named = process.argv.slice(2);
const languages = (named.length > 0 ? named : Object.keys(TOOLS)).filter((language) => {
  const missing = TOOLS[language].filter((program) => !isOnPath(program));
  if (missing.length === 0) return true;
  console.log(`${language} is left out: ${missing.join(', ')} is missing`);
  if (named.length > 0) process.exit(1);
  return false;
});

/** Builds an example. Resolves to false if that fails. */
function build(language) {
  const folder = join(root, 'examples', language);
  const began = performance.now();
  const block = blockOf(readFileSync(join(folder, 'README.md'), 'utf8'), 'Build');
  const child = spawn('bash', ['-e', '-c', block], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  return new Promise((resolve) =>
    child.once('exit', (code) => {
      const seconds = ((performance.now() - began) / 1_000).toFixed(0);
      console.log(`${language} is ${code === 0 ? '' : 'not '}built after ${seconds} s`);
      resolve(code === 0);
    }),
  );
}

const waiting = [...languages];
const built = [];
/** Builds one example after the other, as long as there are any. */
async function buildAll() {
  for (let language = waiting.shift(); language; language = waiting.shift()) built.push(await build(language));
}
await Promise.all(Array.from({ length: BUILDS }, buildAll));
if (built.includes(false)) process.exit(1);
const env = { ...process.env, ROLLCALL_TEST_EXAMPLES: languages.join(',') };
const { status } = spawnSync(process.execPath, [join(root, 'scripts/test.js'), 'test/examples'], {
  stdio: 'inherit',
  env,
});
process.exit(status ?? 1);
