// Runs the cluster suite: `npm run test:cluster`, one test file at a time and in full, for half an hour. With --short
// outages are shorter and most files run beside one another, as they mostly wait: under five minutes on two cores.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Files at a time: each starts three members of etcd and three servers. */
const FILES_AT_A_TIME = 5;
/** Files that run again with mutual TLS between servers and towards etcd, and with tokens. */
const SECURED = ['partitions', 'pauses', 'replica-death', 'rolling'].map((name) => `${name}.test.ts`);
/** Files that keep both cores busy, so that what they bound in time holds only where nothing else runs. */
const ALONE = ['many.test.ts', 'tls-flood.test.ts'];

const folder = 'test/cluster';
const runner = fileURLToPath(new URL('test.js', import.meta.url));

function run(names, concurrency, env = process.env) {
  const files = names.map((name) => `${folder}/${name}`);
  const { status } = spawnSync(process.execPath, [runner, `--test-concurrency=${concurrency}`, ...files], {
    stdio: 'inherit',
    env,
  });
  if (status !== 0) process.exit(status ?? 1);
}

const all = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
if (process.argv.includes('--short')) {
  const together = all.filter((name) => !ALONE.includes(name));
  run(together, FILES_AT_A_TIME);
  run(SECURED, FILES_AT_A_TIME, { ...process.env, ROLLCALL_TEST_SECURE: '1' });
  run(ALONE, 1);
} else {
  run(all, 1, { ...process.env, ROLLCALL_TEST_LONG: '1' });
  run(SECURED, 1, { ...process.env, ROLLCALL_TEST_LONG: '1', ROLLCALL_TEST_SECURE: '1' });
}
