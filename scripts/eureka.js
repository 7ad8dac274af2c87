// A real server of Eureka, for the tests of the bridge: builds it from Maven Central's packages into the cache folder of the project,
// and prints where its jar is. Needs Java 17 and Maven.
import { execFileSync } from 'node:child_process';
import { cpSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filled, quiet } from './cached.js';

const project = fileURLToPath(new URL('../test/bridges/eureka', import.meta.url));

const folder = filled('eureka-4.3.0', (work) => {
  const copy = join(work, 'project');
  cpSync(project, copy, { recursive: true });
  execFileSync('mvn', ['--batch-mode', '--quiet', 'package'], { ...quiet, cwd: copy });
  renameSync(join(copy, 'target/eureka.jar'), join(work, 'eureka.jar'));
  rmSync(copy, { recursive: true });
});
console.log(join(folder, 'eureka.jar'));
