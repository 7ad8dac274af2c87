// Imports point down only:
// base, gen <- model <- store <- catalog <- domain <- api <- edges <- server <- serve <- cli <- main; access lies between model and
// api. The client lies on model, and only the command line imports it.
// The parts of the domain do not import one another, except that the cluster serves health, and overrides and checks are decided as its verdicts are. Edges never do; what several
// of them speak is in edges/wire.
const everywhere = ['base', 'model', 'gen'];
const domain = [...everywhere, 'store/store', 'catalog'];
const layers = [
  ['base', []],
  ['gen', []],
  ['model', ['base', 'gen']],
  ['store', everywhere],
  ['catalog', [...everywhere, 'store/store']],
  ['domain/registry', domain],
  ['domain/health', domain],
  ['domain/cluster', [...domain, 'domain/health', 'domain/checks/probe-answers']],
  ['domain/history', domain],
  ['domain/overrides', [...domain, 'domain/health']],
  ['domain/checks', [...domain, 'domain/health']],
  ['domain/config', domain],
  ['domain/retention', domain],
  ['domain', domain],
  ['access', everywhere],
  ['audit', ['base']],
  ['api', [...everywhere, 'access', 'audit', 'catalog', 'domain']],
  ['edges/wire', [...everywhere, 'access/principal', 'api/call']],
  ['edges/grpc', [...everywhere, 'api/call', 'api/services', 'api/readiness', 'edges/wire']],
  ['edges/http', [...everywhere, 'api/call', 'api/readiness', 'edges/wire']],
  ['edges/peer', [...everywhere, 'domain/health']],
  ['edges/loopback', ['base', 'domain/health']],
  ['telemetry', ['base']],
  ['tls', ['base']],
  ['settings', ['base', 'model', 'telemetry', 'tls']],
  ['prober', [...everywhere, 'domain/checks/prober']],
  [
    'instruments',
    [
      'base',
      'access/instruments',
      'audit/instruments',
      'store/instruments',
      'catalog/instruments',
      'domain',
      'api/instruments',
      'tls/instruments',
    ],
  ],
  ['version', []],
  [
    'server',
    [
      ...everywhere,
      'access/access',
      'audit',
      'store',
      'catalog/sync',
      'domain',
      'api',
      'edges',
      'settings',
      'prober',
      'tls',
      'telemetry',
      'instruments',
      'version',
    ],
  ],
  ['serve', ['base', 'settings', 'server', 'telemetry', 'version']],
  ['client', ['base', 'gen', 'model/errors', 'model/time']],
  [
    'cli',
    [
      'access/tokens',
      'base',
      'gen',
      'model/backup-file',
      'model/config-format',
      'model/errors',
      'model/limits',
      'model/names',
      'model/time',
      'client',
      'serve',
      'settings/settings',
      'tls/demo',
      'version',
    ],
  ],
  ['main', ['cli/program']],
];

const own = (folder) => `^src/${folder}(/|\\.ts$)`;
const onlyFrom = (name, packages, folder) => ({
  name,
  severity: 'error',
  from: { path: '^src', pathNot: folder },
  to: { path: packages },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unknown-files', severity: 'error', from: { path: '^src' }, to: { couldNotResolve: true } },
    ...layers.map(([folder, allowed]) => ({
      name: `${folder}-imports-only-what-lies-below`,
      severity: 'error',
      from: { path: own(folder) },
      to: { path: '^src/', pathNot: [own(folder), ...allowed.map(own)] },
    })),
    onlyFrom('one-importer-of-lmdb', 'node_modules/(lmdb|@lmdb)/', '^src/store/embedded/'),
    onlyFrom('one-importer-of-pino', 'node_modules/pino/', '^src/telemetry/'),
    onlyFrom('one-importer-of-opentelemetry', 'node_modules/@opentelemetry/', '^src/telemetry/otlp'),
    {
      name: 'traces-are-loaded-only-when-they-are-exported',
      severity: 'error',
      from: { path: '^src' },
      to: { path: '^src/telemetry/otlp', dependencyTypesNot: ['dynamic-import'] },
    },
    onlyFrom('one-importer-of-jose', 'node_modules/jose/', '^src/access/'),
    onlyFrom('zod-only-for-foreign-documents', 'node_modules/zod/', '^src/(access/access-schema|cli/actions/bridge/)'),
    {
      name: 'access-is-loaded-only-with-an-access-file',
      severity: 'error',
      from: { path: '^src', pathNot: '^src/access/' },
      to: {
        path: '^src/access/(access|access-file|access-schema|identities|rules|issuer|issuer-keys)\\.ts$',
        dependencyTypesNot: ['dynamic-import', 'type-only'],
      },
    },
    onlyFrom('one-importer-of-x509', 'node_modules/(@peculiar/x509|reflect-metadata)/', '^src/tls/authority'),
    {
      name: 'certificates-are-made-only-for-the-demo',
      severity: 'error',
      from: { path: '^src', pathNot: '^src/tls/demo' },
      to: { path: '^src/tls/(authority|demo)', dependencyTypesNot: ['dynamic-import'] },
    },
    onlyFrom(
      'prom-client-only-in-telemetry-and-bridges',
      'node_modules/prom-client/',
      '^src/(telemetry|cli/actions/bridge)/',
    ),
    onlyFrom('one-importer-of-etcd3', 'node_modules/(etcd3|cockatiel)/', '^src/store/etcd/'),
    onlyFrom('grpc-only-in-its-edge-and-in-etcd', 'node_modules/@grpc/', '^src/(edges/grpc|store/etcd|client)/'),
    onlyFrom('one-importer-of-commander', 'node_modules/commander/', '^src/cli/'),
    onlyFrom('one-importer-of-diff', 'node_modules/diff/', '^src/cli/actions/diff-config'),
    {
      name: 'the-command-line-loads-servers-and-clients-only-when-they-run',
      severity: 'error',
      from: { path: '^src/cli/(?!actions/|json)' },
      to: { path: '^src/(serve|client/|settings|tls/)', dependencyTypesNot: ['dynamic-import', 'type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node'],
    },
  },
};
