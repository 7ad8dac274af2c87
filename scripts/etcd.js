// Finds an etcd to test with, and prints where it is: `node scripts/etcd.js [3.5|3.6|3.7]`.
//
// Without a version: the one that ROLLCALL_TEST_ETCD names, the one on PATH, or Debian's package, which is unpacked
// into the cache folder of the project (no root needed). With a version: one that is built by Go from its module.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { filled, quiet, runs, unpackDebian } from './cached.js';

/** The newest patch of each minor version when this was written. */
const VERSIONS = { 3.5: 'v3.5.35', 3.6: 'v3.6.16', 3.7: 'v3.7.3' };
const HOW_TO =
  'The tests need etcd. Install it (https://etcd.io/docs/latest/install/) so that it is on PATH, or name the program in ROLLCALL_TEST_ETCD.';

/** A main package of a module of our own: the one of etcd cannot be installed by its path. */
function buildWithGo(work, version) {
  const main =
    'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n';
  writeFileSync(join(work, 'main.go'), main);
  const go = (...args) => execFileSync('go', args, { ...quiet, cwd: work });
  go('mod', 'init', 'etcd');
  go('get', `go.etcd.io/etcd/server/v3@${version}`);
  go('mod', 'tidy');
  go('build', '-o', 'etcd', '.');
}

function find(minor) {
  if (minor !== undefined) {
    const version = VERSIONS[minor];
    if (!version) throw new Error(`etcd ${minor} is not known here; one of ${Object.keys(VERSIONS).join(', ')} is`);
    return join(
      filled(`etcd-${version}`, (work) => buildWithGo(work, version)),
      'etcd',
    );
  }
  const named = process.env.ROLLCALL_TEST_ETCD;
  if (named) {
    if (runs(named, '--version')) return named;
    throw new Error(`ROLLCALL_TEST_ETCD names ${named}, which does not run. ${HOW_TO}`);
  }
  if (runs('etcd', '--version')) return 'etcd';
  try {
    return join(
      filled('etcd-debian', (work) => unpackDebian(work, 'etcd-server')),
      'usr/bin/etcd',
    );
  } catch (error) {
    throw new Error(`${HOW_TO} (Debian's package could not be had: ${String(error.stderr || error.message).trim()})`);
  }
}

try {
  console.log(find(process.argv[2]));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
