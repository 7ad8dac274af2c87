import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadAll } from 'js-yaml';
import { accessFile, callerWith } from '../support/access.js';
import { authority } from '../support/certificates.js';
import { startEtcd } from '../support/etcd.js';
import { eventually, MAIN, temporaryFolder } from '../support/server.js';
import { DEPLOY, python, ROOT, run, toolsFolder } from './tools.js';

const CHART = join(DEPLOY, 'helm/rollcall');
/** The oldest version of Kubernetes that the chart supports, the one of the checker's own schemas, and one between. */
const VERSIONS = ['1.27', '1.33', '1.37'];
/** Everything that the default values leave out. */
const EVERYTHING = {
  tls: { clientCerts: 'optional', certManager: { enabled: true, issuerRef: { name: 'ca', kind: 'ClusterIssuer' } } },
  etcd: { user: 'rollcall', passwordSecret: 'rollcall-etcd-password' },
  settings: { 'protection-max-hours': 12 },
  image: { pullSecrets: ['registry'] },
  service: { type: 'LoadBalancer', annotations: { example: 'yes' } },
  antiAffinity: 'required',
  nodeSelector: { disk: 'ssd' },
  tolerations: [{ key: 'control-plane', operator: 'Exists' }],
  priorityClassName: 'system-cluster-critical',
  podAnnotations: { example: 'yes' },
  podLabels: { example: 'yes' },
  networkPolicy: { clients: [{ ipBlock: { cidr: '10.0.0.0/8' } }] },
  metrics: { serviceMonitor: { enabled: true, labels: { release: 'prometheus' } } },
};
const EMBEDDED = { store: 'embedded', replicas: 1, embedded: { size: '1Gi', storageClass: 'fast' }, insecure: true };

type Names = Readonly<Record<string, string>>;

/** Resources, as far as the tests look into them. The checker knows their whole shapes. */
interface Specs {
  readonly StatefulSet: {
    readonly podManagementPolicy: string;
    readonly serviceName: string;
    readonly selector: { readonly matchLabels: Names };
    readonly template: { readonly metadata: { readonly labels: Names }; readonly spec: PodSpec };
  };
  readonly Service: {
    readonly clusterIP: string;
    readonly publishNotReadyAddresses: boolean;
    readonly selector: Names;
  };
  readonly PodDisruptionBudget: { readonly maxUnavailable: number };
  readonly Certificate: { readonly dnsNames: readonly string[] };
  readonly ConfigMap: undefined;
}

interface PodSpec {
  readonly enableServiceLinks: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly affinity: { readonly podAntiAffinity: Readonly<Record<string, readonly unknown[] | undefined>> };
  readonly volumes: readonly {
    readonly name: string;
    readonly secret?: { readonly secretName: string };
    readonly configMap?: { readonly name: string };
  }[];
  readonly containers: readonly [Container];
}

interface Container {
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
}

interface Probe {
  readonly httpGet: { readonly scheme: string; readonly path: string };
}

interface Resource<Kind extends keyof Specs = keyof Specs> {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: Specs[Kind];
  readonly data: Names;
}

/** Renders the chart with values besides the default ones. */
function template(values: object): { readonly status: number | null; readonly text: string; readonly error: string } {
  const file = join(temporaryFolder(), 'values.json');
  writeFileSync(file, JSON.stringify(values));
  const args = ['template', 'rollcall', CHART, '--namespace', 'rollcall', '--kube-version', '1.27.0', '-f', file];
  const { status, stdout, stderr } = spawnSync(join(toolsFolder(), 'bin/helm'), args, { encoding: 'utf8' });
  return { status, text: stdout, error: stderr };
}

function resources(values: object): Resource[] {
  const { status, text, error } = template(values);
  assert.equal(status, 0, error);
  return loadAll(text).filter(Boolean) as Resource[];
}

function only<Kind extends keyof Specs>(all: readonly Resource[], kind: Kind, name = 'rollcall'): Resource<Kind> {
  const found = all.filter((one) => one.kind === kind && one.metadata.name === name);
  assert.equal(found.length, 1, `${kind} ${name}`);
  return found[0] as Resource<Kind>;
}

test('the chart is as Helm wants it, and the manifests are what it makes by default', () => {
  const { status, stdout } = spawnSync(join(toolsFolder(), 'bin/helm'), ['lint', '--strict', CHART], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const [chart] = loadAll(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')) as [{ version: string; appVersion: string }];
  assert.deepEqual([chart.version, chart.appVersion], [version, version]);
  const manifests = readFileSync(join(DEPLOY, 'kubernetes/rollcall.yaml'), 'utf8');
  assert.equal(run('node', ['scripts/manifests.js', '--print']), manifests, 'run node scripts/manifests.js');
});

test('every resource is one that Kubernetes knows, but for two of Prometheus and cert-manager', () => {
  const known: string[] = [];
  const unknown = new Set<string>();
  for (const values of [{}, EVERYTHING, EMBEDDED]) {
    const file = join(temporaryFolder(), 'rendered.yaml');
    writeFileSync(file, template(values).text);
    for (const version of VERSIONS) {
      const { status, output } = python([
        join(toolsFolder(), 'bin/kubernetes-validate'),
        ...['--strict', '-k', version, file],
      ]);
      assert.equal(status, 0, output);
      for (const [, kind] of output.matchAll(/find schema for kind (\S+)/g)) unknown.add(kind!);
      known.push(...[...output.matchAll(/passed for resource (\S+)/g)].map(([, name]) => name!));
    }
  }
  assert.deepEqual([...unknown].sort(), ['Certificate', 'ServiceMonitor']);
  assert.ok(known.filter((name) => name === 'statefulset/rollcall').length === 3 * VERSIONS.length);
});

test('three servers start at once, find each other before they are ready, and leave one at a time', () => {
  const all = resources({});
  const { spec } = only(all, 'StatefulSet');
  assert.equal(spec.podManagementPolicy, 'Parallel');
  const pod = spec.template.spec;
  assert.equal(pod.enableServiceLinks, false);
  assert.ok(pod.terminationGracePeriodSeconds > 15);
  assert.ok(pod.affinity.podAntiAffinity['preferredDuringSchedulingIgnoredDuringExecution']?.length === 1);
  const peers = only(all, 'Service', spec.serviceName).spec;
  assert.deepEqual([peers.clusterIP, peers.publishNotReadyAddresses], ['None', true]);
  assert.equal(only(all, 'PodDisruptionBudget').spec.maxUnavailable, 1);
  const labels = spec.template.metadata.labels;
  for (const selector of [spec.selector.matchLabels, peers.selector, only(all, 'Service').spec.selector])
    for (const [name, value] of Object.entries(selector)) assert.equal(labels[name], value);
  const everything = resources(EVERYTHING);
  const strict = only(everything, 'StatefulSet').spec.template.spec.affinity.podAntiAffinity;
  assert.ok(strict['requiredDuringSchedulingIgnoredDuringExecution']?.length === 1);
  const names = only(everything, 'Certificate').spec.dnsNames;
  assert.ok(names.includes(`*.${spec.serviceName}.rollcall.svc`), 'one certificate fits every server');
});

test('values that cannot work are refused, and say which and why', () => {
  const refusals: readonly (readonly [object, RegExp])[] = [
    [{ replica: 3 }, /additional properties 'replica' not allowed|Additional property replica is not allowed/],
    [{ store: 'consul' }, /store/],
    [{ store: 'embedded' }, /replicas: the embedded store is for one server/],
    [{ settings: { host: '::' } }, /settings\.host: the chart sets it/],
    [{ settings: { node: 'a' } }, /settings\.node: it is another one for each server/],
    [{ etcd: { endpoints: ['etcd:2379'] } }, /etcd\.endpoints\.0/],
    [{ etcd: { user: 'a' } }, /etcd\.passwordSecret: etcd\.user needs it/],
    [{ tls: { certManager: { enabled: true } } }, /tls\.certManager\.issuerRef: who issues the certificate/],
  ];
  for (const [values, expected] of refusals) {
    const { status, error } = template(values);
    assert.notEqual(status, 0, JSON.stringify(values));
    assert.match(error, expected);
  }
});

test('three servers of the StatefulSet, run as processes with its variables, settings and Secrets, become one cluster', async (t) => {
  const ca = await authority('cluster');
  const own = await ca.issue('etcd');
  const etcd = await startEtcd(t, { tls: { ca, own } });
  const port = new URL(etcd.endpoints[0]!).port;
  const all = resources({ etcd: { endpoints: [`https://localhost:${port}`] } });
  const { spec } = only(all, 'StatefulSet');
  const peers = `${spec.serviceName}.rollcall.svc`;
  const folder = temporaryFolder();
  // What the volumes of a pod would hold.
  const server = await ca.issue('servers', {
    alternatives: [
      { type: 'dns', value: `*.${peers}` },
      { type: 'dns', value: 'rollcall.rollcall.svc' },
    ],
  });
  const operator = callerWith('operator', '{ role: admin, namespaces: ["*"] }');
  const secrets: Record<string, Record<string, string>> = {
    'rollcall-tls': { 'tls.crt': server.certFile, 'tls.key': server.keyFile, 'ca.crt': ca.certFile },
    'rollcall-etcd': { 'tls.crt': own.certFile, 'tls.key': own.keyFile, 'ca.crt': ca.certFile },
    'rollcall-access': { 'access.yaml': accessFile([operator]) },
  };
  const [container] = spec.template.spec.containers;
  for (const { name, mountPath } of container.volumeMounts) {
    const path = join(folder, mountPath);
    mkdirSync(path, { recursive: true });
    const { secret, configMap } = spec.template.spec.volumes.find((one) => one.name === name)!;
    for (const [file, source] of Object.entries(secret ? secrets[secret.secretName]! : {}))
      copyFileSync(source, join(path, file));
    // The files lie in a folder of the test, and not at the root.
    for (const [file, text] of Object.entries(configMap ? only(all, 'ConfigMap', configMap.name).data : {}))
      writeFileSync(join(path, file), text.replaceAll('/etc/rollcall', join(folder, 'etc/rollcall')));
  }
  // The DNS of the cluster, and a network of each pod: an address on loopback.
  const hosts = [0, 1, 2].map((i) => `127.0.1.${i + 1} rollcall-${i}.${peers}`);
  writeFileSync(join(folder, 'hosts'), `127.0.0.1 localhost\n127.0.1.1 rollcall.rollcall.svc\n${hosts.join('\n')}\n`);
  const inCluster = (program: readonly string[]): string[] => [
    ...['--mount', 'sh', '-c', `mount --bind ${join(folder, 'hosts')} /etc/hosts && exec "$@"`, 'sh', ...program],
  ];
  const log: string[] = [];
  for (const i of [0, 1, 2]) {
    const variables = variablesOf(container.env, `rollcall-${i}`);
    variables['ROLLCALL_SETTINGS'] = join(folder, variables['ROLLCALL_SETTINGS']!);
    const [program, ...flags] = container.command;
    assert.deepEqual([program, flags.pop()], ['node', '/opt/rollcall/dist/main.js']);
    const child = spawn('unshare', inCluster([process.execPath, ...flags, MAIN, ...container.args]), {
      env: { ...variables, ROLLCALL_HOST: `127.0.1.${i + 1}` },
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: folder,
    });
    child.stderr.on('data', (text: Buffer) => log.push(text.toString()));
    t.after(async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    });
  }
  // As the kubelet asks: without a name, without a certificate.
  for (const { httpGet } of [container.readinessProbe, container.livenessProbe])
    for (const i of [0, 1, 2])
      await eventually(
        async () => (await statusOf(httpGet.scheme, `127.0.1.${i + 1}`, httpGet.path)) === 200,
        30_000,
      ).catch((error: unknown) => assert.fail(`${String(error)}\n${log.join('')}`));
  const token = join(folder, 'token');
  writeFileSync(token, operator.token);
  const client = [
    'status',
    '--token-file',
    token,
    '--server',
    'rollcall.rollcall.svc:7400',
    '--ca',
    ca.certFile,
    '-o',
    'json',
  ];
  const asked = spawnSync('unshare', inCluster([process.execPath, MAIN, ...client]), {
    env: { PATH: process.env['PATH'], HOME: folder },
    encoding: 'utf8',
  });
  assert.equal(asked.status, 0, asked.stderr);
  const { cluster } = JSON.parse(asked.stdout) as {
    cluster: { replicas: readonly { node: string; address: string }[] };
  };
  assert.deepEqual(
    cluster.replicas.map(({ node, address }) => [node, address]).sort(),
    [0, 1, 2].map((i) => [`rollcall-${i}`, `rollcall-${i}.${peers}:7400`]),
  );
});

/** The variables of a container, as the kubelet makes them. */
function variablesOf(env: Container['env'], pod: string): Record<string, string> {
  const variables: Record<string, string> = { PATH: process.env['PATH']! };
  for (const { name, value } of env)
    variables[name] = (value ?? pod).replaceAll(/\$\((\w+)\)/g, (_, other: string) => variables[other]!);
  return variables;
}

async function statusOf(scheme: string, host: string, path: string): Promise<number | undefined> {
  assert.equal(scheme, 'HTTPS');
  const request = https.get({ host, port: 7401, path, rejectUnauthorized: false });
  const [response] = (await once(request, 'response').catch(() => [undefined])) as [
    { statusCode?: number } | undefined,
  ];
  request.destroy();
  return response?.statusCode;
}
