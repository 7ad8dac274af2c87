// Runs the suites that need etcd on other versions of it: `npm run test:etcd -- 3.5 3.6`. Needs Go, which builds them.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = (name) => fileURLToPath(new URL(name, import.meta.url));
const versions = process.argv.slice(2);
if (versions.length === 0) {
  console.error('which versions of etcd? such as: npm run test:etcd -- 3.5 3.6');
  process.exit(2);
}
const suites = ['test/contract/etcd.test.ts', 'test/faults/etcd-store.test.ts', 'test/faults/etcd-server.test.ts'];
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
