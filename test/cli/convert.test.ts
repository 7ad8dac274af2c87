import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { zipSync } from 'fflate';
import { CommandLine } from '../support/cli.js';
import { ConfigFormat } from '../../src/gen/rollcall/v1/config.js';
import { getConfig, listConfigs } from '../support/client.js';
import { type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));

/** Writes files below a new folder. */
function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** Writes a zip archive. */
function archiveOf(files: Readonly<Record<string, string>>): string {
  const path = join(temporaryFolder(), 'export.zip');
  const bytes = Object.fromEntries(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]));
  writeFileSync(path, zipSync(bytes));
  return path;
}

/** Converts and imports, and returns the report with what a server has then. */
async function imported(
  server: ServerProcess,
  cli: CommandLine,
  namespace: string,
  system: string,
  source: string,
  ...flags: readonly string[]
): Promise<{ report: string[]; keys: string[] }> {
  const folder = join(temporaryFolder(), 'configs');
  const { code, stdout, stderr } = await cli.run(['config', 'convert', system, source, folder, ...flags]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`^\\d+ configs are in ${folder}, with \\d+ remarks\n$`));
  await cli.ok(['config', 'import', folder, '-n', namespace, '--comment', `from ${system}`]);
  const { configs } = await listConfigs(server, { namespace });
  return { report: stderr.trim().split('\n'), keys: configs.map(({ group, key }) => `${group}/${key}`) };
}

const contentOf = async (server: ServerProcess, namespace: string, group: string, key: string): Promise<string> => {
  const { config } = await getConfig(server, { namespace, group, key });
  return Buffer.from(config!.content!.value as never).toString();
};

test('configs of Consul, Kubernetes and Spring become configs here, and the report says what is lost', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);

  // Exported by a real Consul 1.14.
  const consul = await imported(server, cli, 'consul', 'consul', join(FIXTURES, 'consul/kv-export.json'));
  assert.deepEqual(consul.keys, ['default/app/bin.dat', 'default/app/config.yaml', 'default/app/with-blank=:']);
  assert.deepEqual(consul.report, [
    'app/: a folder without a value; there are no folders',
    '"default/app/with blank=:": is named default/app/with-blank=:',
  ]);
  assert.equal(await contentOf(server, 'consul', 'default', 'app/config.yaml'), 'debug: true');

  // Written after the output of kubectl get configmaps -o yaml.
  const kubernetes = await imported(
    server,
    cli,
    'k8s',
    'kubernetes',
    join(
      folderOf({
        'maps.yaml': `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: shop
    namespace: prod
    labels: { app: shop }
    annotations:
      meta.helm.sh/release-name: shop
      kubectl.kubernetes.io/last-applied-configuration: "{}"
    ownerReferences: [{ kind: Deployment, name: shop }]
  data:
    app.yaml: |
      debug: true
    LEVEL: info
  binaryData: { logo.bin: AP+A }
  immutable: true
- { apiVersion: v1, kind: ConfigMap, metadata: { name: kube-root-ca.crt, namespace: prod }, data: { ca.crt: x } }
- { apiVersion: v1, kind: Secret, metadata: { name: key, namespace: prod } }
- { apiVersion: v1, kind: ConfigMap, metadata: { name: empty, namespace: prod } }
`,
      }),
      'maps.yaml',
    ),
  );
  assert.deepEqual(kubernetes.keys, ['shop/LEVEL', 'shop/app.yaml', 'shop/logo.bin']);
  assert.deepEqual(kubernetes.report, [
    'shop: it is immutable; nothing here keeps configs from being published again',
    'shop: its annotation meta.helm.sh/release-name is lost',
    'shop: it belongs to Deployment shop, which will go on writing the ConfigMap, and not the config',
    'kube-root-ca.crt: Kubernetes makes it in every namespace; left out',
    'Secret key: is no ConfigMap',
    'empty: it is empty',
  ]);
  const { config } = await getConfig(server, { namespace: 'k8s', group: 'shop', key: 'logo.bin' });
  assert.deepEqual([...config!.labels], [['app', 'shop']]);
  assert.deepEqual([...(config!.content!.value as Uint8Array)], [0x00, 0xff, 0x80]);

  // Written after the documentation of Spring Cloud Config.
  const spring = await imported(
    server,
    cli,
    'spring',
    'spring',
    folderOf({
      'application.yml': 'a: 1\n',
      'pay/pay.yml': 'b: 1\n---\nspring:\n  config:\n    activate:\n      on-profile: prod\nb: 2\n',
      'pay-dev.properties': 'url=${HOST}/x\nsecret={cipher}abc\n',
      'README.md': 'hello',
      '.git/config': 'x',
    }),
  );
  assert.deepEqual(spring.keys, [
    ...['default/application.yml', 'default/pay-dev.properties', 'default/pay/pay-prod.yml', 'default/pay/pay.yml'],
  ]);
  assert.equal(await contentOf(server, 'spring', 'default', 'pay/pay.yml'), 'b: 1\n');
  assert.match(await contentOf(server, 'spring', 'default', 'pay/pay-prod.yml'), /on-profile: prod\nb: 2\n$/);
  for (const remark of [
    /^README\.md: no file of properties/,
    /^pay-dev\.properties: has \{cipher\} values/,
    /^pay-dev\.properties: has placeholders/,
    /^pay\/pay\.yml: its document 2 is the config pay\/pay-prod\.yml$/,
    /^application\.\*: the server of Spring merged it/,
  ])
    assert.ok(
      spring.report.some((line) => remark.test(line)),
      `${remark} in ${spring.report.join('\n')}`,
    );
});

test('documents of Spring for profiles in any form, links, broken entries of Consul and names that meet', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const repository = folderOf({
    'app.yml': [
      'a: 1',
      'spring.config.activate.on-profile: prod',
      'spring: { profiles: [dev, test] }',
      'spring: { config: { activate: { on-profile: prod | staging } } }',
      'b: 5',
    ].join('\n---\n'),
    'web.properties': 'a=1\n#---\nspring.config.activate.on-profile=prod\na=2\n',
  });
  symlinkSync('/etc', join(repository, 'etc'));
  symlinkSync('.', join(repository, 'loop'));
  symlinkSync('/etc/hosts', join(repository, 'hosts.yml'));
  const spring = await imported(server, cli, 'spring', 'spring', repository);
  assert.deepEqual(spring.keys, [
    ...['default/app-dev.yml', 'default/app-prod.yml', 'default/app-test.yml', 'default/app.document-4.yml'],
    ...['default/app.document-5.yml', 'default/app.yml', 'default/web-prod.properties', 'default/web.properties'],
  ]);
  for (const name of ['etc', 'loop', 'hosts.yml'])
    assert.ok(spring.report.includes(`${name}: a link, or no file; left out`), spring.report.join('\n'));
  assert.ok(spring.report.includes('app.yml: its document 4 is for "prod | staging", which no name says'));
  assert.equal(await contentOf(server, 'spring', 'default', 'app-test.yml'), 'spring: { profiles: [dev, test] }\n');

  const entries = [
    { key: 'a b', flags: 0, value: 'MQ==' },
    { key: 'broken', flags: 0, value: '%%%' },
    { key: 'none' },
    { key: 'a-b', flags: 0, value: 'Mg==' },
  ];
  const consul = await imported(
    server,
    cli,
    'consul',
    'consul',
    join(folderOf({ 'kv.json': JSON.stringify(entries) }), 'kv.json'),
  );
  assert.deepEqual(consul.keys, ['default/a-b']);
  assert.equal(await contentOf(server, 'consul', 'default', 'a-b'), '2', 'the exact name keeps its content');
  assert.deepEqual(consul.report, [
    'entry 2: has no key and value in base64; left out',
    'entry 3: has no key and value in base64; left out',
    '"default/a b": is named default/a-b',
    '"default/a b": left out; default/a-b has the same name default/a-b',
  ]);
});

test('an archive of Nacos becomes configs under their groups, with what its metadata say', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  // Written after the documentation and the source of Nacos 2: no server of it runs here.
  const nacos = await imported(
    server,
    cli,
    'nacos',
    'nacos',
    archiveOf({
      'DEFAULT_GROUP/pay.yaml': 'a: 1\n',
      'DEFAULT_GROUP/limits': '{"a": 1}',
      'DEFAULT_GROUP/com.shop:pay#v1': 'text',
      'shop/cipher-aes-pay': 'AbC=',
      'loose.txt': 'x',
      '.metadata.yml': `metadata:
- { group: DEFAULT_GROUP, dataId: limits, type: json, appName: pay, desc: ${'d'.repeat(1_100)}, configTags: 'a,b' }
- { group: DEFAULT_GROUP, dataId: pay.yaml, type: yaml }
`,
    }),
  );
  assert.deepEqual(nacos.keys, [
    ...['DEFAULT_GROUP/com.shop:pay-v1', 'DEFAULT_GROUP/limits', 'DEFAULT_GROUP/pay.yaml', 'shop/cipher-aes-pay'],
  ]);
  assert.deepEqual(nacos.report, [
    'DEFAULT_GROUP/limits: its description is cut to 1024 bytes',
    'shop/cipher-aes-pay: a plugin of Nacos encrypted its content, which stays so',
    'loose.txt: lies in no group; left out',
    'gray (beta) configs, histories and the rights of users are in no export',
    '"DEFAULT_GROUP/com.shop:pay#v1": is named DEFAULT_GROUP/com.shop:pay-v1',
  ]);
  const { config } = await getConfig(server, { namespace: 'nacos', group: 'DEFAULT_GROUP', key: 'limits' });
  assert.equal(config!.format, ConfigFormat.CONFIG_FORMAT_JSON);
  assert.deepEqual(Object.fromEntries(config!.labels), {
    'nacos-app': 'pay',
    'nacos-description': 'd'.repeat(1_024),
    'nacos-tags': 'a,b',
  });
  // Nacos 1 wrote the names of applications alone.
  const old = await imported(
    server,
    cli,
    'nacos1',
    'nacos',
    archiveOf({ 'shop/pay.v1.yaml': 'a: 1\n', '.meta.yml': 'shop.pay.v1~yaml.app=pay\r\n' }),
  );
  assert.deepEqual(old.keys, ['shop/pay.v1.yaml']);
  const before = await getConfig(server, { namespace: 'nacos1', group: 'shop', key: 'pay.v1.yaml' });
  assert.deepEqual(Object.fromEntries(before.config!.labels), { 'nacos-app': 'pay' });
});

test('an archive of Apollo becomes configs under their applications, and says which belong to others', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  // Written after the source of Apollo 2: no portal of it runs here.
  const item = (lineNum: number, key: string, value: string, comment = ''): object => ({
    ...{ id: 0, namespaceId: 0, key, value, comment, lineNum, type: 0 },
  });
  const archive = archiveOf({
    'ann/pay/app.metadata': '{"appId":"pay","name":"Pay","ownerName":"ann"}',
    'ann/pay/PRO/default.cluster.metadata': '{"name":"default"}',
    'shop+FX.limits.appnamespace.metadata': '{"name":"FX.limits","appId":"shop","format":"properties","isPublic":true}',
    'ann/pay/PRO/pay+default+application.properties': JSON.stringify([
      item(3, 'a b', ' one\ntwo\\', 'why'),
      item(1, '', '', '# the head'),
      item(2, '', ''),
    ]),
    'ann/pay/PRO/pay+default+flags.json': JSON.stringify([item(1, 'content', '[{"key": "a", "value": "b"}]')]),
    'ann/pay/PRO/pay+default+FX.limits.properties': JSON.stringify([item(1, 'max', '5')]),
    'ann/pay/PRO/pay+SHAOY+application.properties': 'old = text\n',
    'ann/pay/PRO/pay+default+empty.properties': '[]',
    'ann/pay/DEV/pay+default+application.properties': 'dev = 1\n',
    'readme.txt': 'x',
  });
  const several = await cli.run(['config', 'convert', 'apollo', archive, join(temporaryFolder(), 'configs')]);
  assert.equal(several.code, 2);
  assert.match(several.stderr, /has configs of several environments \(DEV, PRO\); choose one with --environment/);
  const apollo = await imported(server, cli, 'apollo', 'apollo', archive, '--environment', 'PRO');
  assert.deepEqual(apollo.keys, [
    ...['pay/FX.limits.properties', 'pay/application.properties', 'pay/empty.properties', 'pay/flags.json'],
    'pay.SHAOY/application.properties',
  ]);
  assert.equal(
    await contentOf(server, 'apollo', 'pay', 'application.properties'),
    '# the head\n\n# why\na\\ b = \\ one\\ntwo\\\\\n',
  );
  assert.equal(await contentOf(server, 'apollo', 'pay', 'flags.json'), '[{"key": "a", "value": "b"}]');
  assert.equal(await contentOf(server, 'apollo', 'pay.SHAOY', 'application.properties'), 'old = text\n');
  assert.deepEqual(apollo.report.sort(), [
    'an export has the items as they were edited, released or not; gray releases, histories and rights are in none',
    'ann/pay/PRO/pay+SHAOY+application.properties: its cluster SHAOY is the group pay.SHAOY; programs read it before pay',
    'pay/FX.limits.properties: is associated with that of shop; programs read shop/FX.limits.properties first, then this one',
    'pay/empty.properties: it is empty',
    'readme.txt: is no namespace of an application; left out',
  ]);
});

test('what cannot be converted is refused with its reason, and nothing is written over', async (t) => {
  const cli = new CommandLine(t, '127.0.0.1:1');
  const source = folderOf({
    'no.json': '{"key": "a"}',
    'broken.yaml': 'a: [',
    'two.yaml':
      'kind: ConfigMap\nmetadata: {name: a, namespace: x}\n---\nkind: ConfigMap\nmetadata: {name: a, namespace: y}\n',
    'same.json': '[{"key":"a b","flags":7,"value":"eA=="},{"key":"a-b","value":"eQ=="},{"key":"///","value":"eA=="}]',
  });
  const bomb = archiveOf({ 'a/zeros': '\0'.repeat(64 * 1024 * 1024 + 1) });
  const manyFiles = archiveOf(Object.fromEntries(Array.from({ length: 20_001 }, (_, i) => [`a/${i}`, ''])));
  const run = (...args: string[]) => cli.run(['config', 'convert', ...args]);
  const fresh = (): string => join(temporaryFolder(), 'configs');
  for (const [args, error] of [
    [['nobody', source, fresh()], /"nobody" is none of apollo, consul, kubernetes, nacos, spring/],
    [['consul', join(source, 'no.json'), fresh()], /is not what "consul kv export" writes/],
    [['consul', join(source, 'absent'), fresh()], /cannot be read \(ENOENT/],
    [['kubernetes', join(source, 'broken.yaml'), fresh()], /cannot be read \(/],
    [['kubernetes', join(source, 'two.yaml'), fresh()], /ConfigMaps of several namespaces \(x, y\)/],
    [['spring', join(source, 'absent'), fresh()], /cannot be read \(ENOENT\)/],
    [['consul', join(source, 'same.json'), source], /is not empty/],
    [['nacos', join(source, 'no.json'), fresh()], /cannot be read as a zip archive/],
    [['apollo', join(source, 'absent'), fresh()], /cannot be read as a zip archive \(ENOENT/],
    [
      ['nacos', archiveOf({ '.metadata.yml': 'a: 1', 'a/b': 'c' }), fresh()],
      /its \.metadata\.yml is not what Nacos writes/,
    ],
    [['nacos', bomb, fresh()], /unpacks to more than 67108864 bytes/],
    [['nacos', manyFiles, fresh()], /has more than 20000 files/],
    [
      ['apollo', archiveOf({ 'a/b/DEV/b+default+c.yml': 'x: 1' }), fresh(), '--environment', 'PRO'],
      /has no environment PRO, but DEV/,
    ],
    [
      ['consul', join(source, 'same.json'), fresh(), '--environment', 'PRO'],
      /--environment: the configs of consul have no/,
    ],
  ] as const) {
    const { code, stderr } = await run(...args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, error);
  }
  const { code, stderr } = await run('consul', join(source, 'same.json'), fresh());
  assert.equal(code, 0);
  assert.deepEqual(stderr.trim().split('\n'), [
    'a b: its flags 7 are in the label consul-flags',
    '"default/a b": is named default/a-b',
    '"default/a b": left out; default/a-b has the same name default/a-b',
    'default////: left out; nothing of its name can be one',
  ]);
});
