import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './server.js';

const ROOT = new URL('../..', import.meta.url).pathname;
const PARTS = ['src', 'proto', 'scripts', 'package.json', 'buf.yaml', 'buf.gen.yaml'];
const CONFIGURATIONS = ['tsconfig.json', 'tsconfig.build.json'];

/** The field that the next version knows, and this one does not: in an instance, its record, a member and a question. */
export const NEXT_FIELD = 1_000;

/** Where the text of this version becomes that of the next one. */
const CHANGES: readonly (readonly [file: string, text: string, becomes: string])[] = [
  ['package.json', '"version": "0.1.0"', '"version": "0.2.0"'],
  ...['rollcall/v1/instance.proto Instance', 'rollcall/storage/v1/records.proto MemberRecord'].map(fieldIn),
  ...['rollcall/storage/v1/records.proto InstanceRecord', 'rollcall/peer/v1/peer_service.proto LastHeardRequest'].map(
    fieldIn,
  ),
  ['src/api/registry/validation.ts', '    revision: 0n,\n', '    revision: 0n,\n    next: given.next,\n'],
  [
    'src/model/instance.ts',
    'encode({ ...record, instance: stored })',
    "encode({ ...record, next: 'b', instance: stored })",
  ],
  [
    'src/domain/cluster/membership.ts',
    '      protocolVersion: PROTOCOL_VERSION,\n',
    "      protocolVersion: 2,\n      next: 'c',\n",
  ],
  ['src/edges/peer/connector.ts', '{ to, promise, queries:', "{ to, promise, next: 'd', queries:"],
];

function fieldIn(place: string): readonly [string, string, string] {
  const [file, message] = place.split(' ') as [string, string];
  const begins = `message ${message} {\n`;
  return [`proto/${file}`, begins, `${begins}  optional string next = ${NEXT_FIELD};\n`];
}

/** Builds the program as a later version may be, which knows fields that this one does not; returns its main file. */
export function buildNextVersion(): string {
  const folder = temporaryFolder();
  for (const part of [...PARTS, ...CONFIGURATIONS]) cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  for (const [file, text, becomes] of CHANGES) {
    const before = readFileSync(join(folder, file), 'utf8');
    if (!before.includes(text)) throw new Error(`${file} has no ${JSON.stringify(text)}`);
    writeFileSync(join(folder, file), before.replace(text, becomes));
  }
  const run = (...args: string[]): void => void execFileSync(process.execPath, args, { cwd: folder, stdio: 'pipe' });
  run('scripts/generate.js');
  // Where messages are made the new fields are missing, which is as good as unset.
  run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--noCheck');
  cpSync(join(folder, 'src/gen/image.binpb'), join(folder, 'dist/gen/image.binpb'));
  return join(folder, 'dist/main.js');
}
