// Runs the cluster suite: `npm run test:cluster`, one test file at a time and in full, for half an hour. With --short
// outages are shorter and files run beside one another, as most of them wait: under four minutes on two cores.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Files at a time: each starts three members of etcd and three servers. */
const FILES_AT_A_TIME = 5;

const isShort = process.argv.includes('--short');
const env = { ...process.env, ...(!isShort && { ROLLCALL_TEST_LONG: '1' }) };
const concurrency = `--test-concurrency=${isShort ? FILES_AT_A_TIME : 1}`;
const runner = fileURLToPath(new URL('test.js', import.meta.url));
const { status } = spawnSync(process.execPath, [runner, concurrency, 'test/cluster'], { stdio: 'inherit', env });
process.exit(status ?? 1);
