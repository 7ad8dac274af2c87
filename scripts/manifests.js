// Writes deploy/kubernetes/rollcall.yaml: what the chart of deploy/helm renders with its default values, for those who use no Helm. `--print`
// prints it instead. Needs Python with pip, which brings Helm.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
/** The oldest Kubernetes that is supported. The output is the same for every newer one. */
const KUBERNETES = '1.27.0';

const run = (program, ...args) => execFileSync(program, args, { cwd: root, encoding: 'utf8' });

const tools = run('node', 'scripts/deploy-tools.js').trim();
const chart = ['template', 'rollcall', 'deploy/helm/rollcall', '--namespace', 'rollcall', '--kube-version', KUBERNETES];
const rendered = run(join(tools, 'bin/helm'), ...chart);
const text = `# Three servers on an etcd that you have, as the chart of deploy/helm/rollcall makes them with its default values; scripts/manifests.js
# wrote this. docs/guides/kubernetes.md says what they need: an image, the Secrets rollcall-tls, rollcall-access and rollcall-etcd, and the
# URLs of etcd. kubectl create namespace rollcall && kubectl apply -f deploy/kubernetes/rollcall.yaml
${rendered.replaceAll(/^# Source: .*\n/gm, '')}`;
if (process.argv.includes('--print')) process.stdout.write(text);
else writeFileSync(join(root, 'deploy/kubernetes/rollcall.yaml'), text);
