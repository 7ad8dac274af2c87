// Runs the suites that need etcd on other versions of it: `npm run test:etcd -- 3.5 3.6`. Needs Go, which builds them.
// With --short the suites that start servers are left out.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = (name) => fileURLToPath(new URL(name, import.meta.url));
const isShort = process.argv.includes('--short');
const versions = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
if (versions.length === 0) {
  console.error('which versions of etcd? such as: npm run test:etcd -- 3.5 3.6');
  process.exit(2);
}
const suites = ['test/contract/etcd.test.ts', 'test/faults/etcd-store.test.ts'];
if (!isShort) suites.push('test/faults/etcd-server.test.ts');
for (const version of versions) {
  const etcd = execFileSync(process.execPath, [script('etcd.js'), version], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  console.log(`etcd ${version}: ${etcd}`);
  const env = { ...process.env, ROLLCALL_TEST_ETCD: etcd };
  const { status } = spawnSync(process.execPath, [script('test.js'), ...suites], { stdio: 'inherit', env });
  if (status !== 0) process.exit(status ?? 1);
}
