// Finds words that docs/glossary.md lists under "Words to avoid": `node scripts/words.js [PATH...]`. Documents are searched as
// a whole, programs and protos only in their comments. Quotations and code are left out. Without paths it searches CLEAN, the
// files and folders that are free of these words; `npm run lint` does that, so that they stay free.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Files and folders without words to avoid. A folder joins the list as soon as it passes. */
const CLEAN = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'RELEASING.md',
  'SECURITY.md',
  '.github',
  'docs',
  'clients',
  'demo',
  'examples',
  'scripts',
  'src',
  'proto',
];

/** Each word with a better one. A word may be split over two lines. */
const WORDS = [
  [/\bwhoever\b/gi, 'the noun'],
  [/\bnobody\b/gi, 'the noun, such as "no member"'],
  [/(?<=[\u0001.] *|\n\n|\n *- |\| )What (?=[^.?|\u0001]*[.\u0001])/g, 'a sentence that begins with the noun'],
  [/\bstands\b(?!\s+for\b)/gi, 'exists, is stored, the current record'],
  [/\b(?:told|tells)\b/gi, 'is notified, receives, returns, reports'],
  [/\b(?:anew|once\s+more)\b/gi, 'again'],
  [/\bof\s+ours\b/gi, 'the owner'],
  [/\bby\s+right\b/gi, 'legitimate'],
  [/\bso\s+(?:many|long)\b(?!\s+as\b)/gi, 'the number, the bound'],
  [/\bas\s+it\s+is\b/gi, 'unchanged'],
  [/\bout\s+of\s+reach\b/gi, 'unreachable'],
  [/\bgoodbye\b/gi, 'deregistration, clean departure'],
  [/(?<=[\u0001.] *)True: /g, 'Returns true if'],
  [/(?<=[\u0001.;] *)undefined: /gi, '`undefined` if'],
];

const isGenerated = (text) => text.startsWith('<!-- Written by ');
/** Replaces text by spaces, so that the rest keeps its place. */
const blank = (text) => text.replace(/[^\n]/g, ' ');

/** The comments of a program in their places. A mark shows where each begins. */
function commentsOf(text) {
  const comments = /\/\*[^]*?\*\/|(?<=^|[\s;,{}()])\/\/[^\n]*(?:\n *\/\/[^\n]*)*/g;
  let masked = '';
  let end = 0;
  for (const { 0: comment, index } of text.matchAll(comments)) {
    const words = comment.replace(/^ *\/?\*+(?:\/$)?| *\*\/$/gm, blank).replace(/^ *\/\//gm, blank);
    masked += blank(text.slice(end, index)) + words.replace(/^ */, (spaces) => `${spaces.slice(1)}\u0001`);
    end = index + comment.length;
  }
  return masked + blank(text.slice(end));
}

/** The prose of a document in its place, without its code and the list of the words themselves. */
function proseOf(text) {
  return text
    .replace(/^```[^]*?^```$/gm, blank)
    .replace(/^## Words to avoid\n[^]*/m, blank)
    .replace(/\]\([^)]*\)/g, blank);
}

/** Blanks code and quoted words, which are never searched. */
const withoutQuotes = (text) => text.replace(/`[^`\n]*`|"[^"\n]*"/g, blank);

function findIn(path) {
  const text = readFileSync(path, 'utf8');
  if (isGenerated(text)) return [];
  const prose = withoutQuotes(path.endsWith('.md') || path.endsWith('.yml') ? proseOf(text) : commentsOf(text));
  return WORDS.flatMap(([word, better]) =>
    [...prose.matchAll(word)].map(({ 0: found, index }) => {
      const line = prose.slice(0, index).split('\n').length;
      return { path: relative(root, path), line, found: found.replace(/\s+/g, ' ').trim(), better };
    }),
  );
}

function filesIn(path) {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter(
      (name) =>
        /\.(?:md|yml|ts|js|proto)$/.test(name) && !/(?:^|\/)(?:gen|dist|node_modules|target|build|\.venv)\//.test(name),
    )
    .map((name) => join(path, name))
    .sort();
}

const paths = process.argv.slice(2);
const found = (paths.length > 0 ? paths : CLEAN).flatMap((path) => filesIn(join(root, path))).flatMap(findIn);
for (const { path, line, found: word, better } of found) console.error(`${path}:${line}: "${word}"; write: ${better}`);
process.exit(found.length > 0 ? 1 : 0);
