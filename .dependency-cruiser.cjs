// Imports point down only: base, gen <- model <- store <- catalog <- domain <- api <- edges <- server <- main.
const everywhere = ['base', 'model', 'gen'];
const layers = [
  ['base', []],
  ['gen', []],
  ['model', ['base', 'gen']],
  ['store', everywhere],
  ['catalog', [...everywhere, 'store/store']],
  ['domain/registry', [...everywhere, 'store/store', 'catalog']],
  ['domain/health', [...everywhere, 'store/store', 'catalog']],
  ['domain/config', [...everywhere, 'store/store', 'catalog']],
  ['domain/retention', [...everywhere, 'store/store', 'catalog']],
  ['domain/cluster', [...everywhere, 'store/store', 'catalog', 'domain/health']],
  ['domain', [...everywhere, 'store/store', 'catalog']],
  ['api', [...everywhere, 'catalog', 'domain', 'telemetry', 'edges/grpc/calls']],
  ['edges/grpc', [...everywhere, 'api', 'domain']],
  ['edges/peer', [...everywhere, 'domain/health']],
  ['edges/loopback', ['base', 'domain/health']],
  ['telemetry', ['base']],
  ['settings', ['base', 'telemetry']],
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
    onlyFrom('one-importer-of-etcd3', 'node_modules/(etcd3|cockatiel)/', '^src/store/etcd/'),
    onlyFrom('grpc-only-at-the-edges', 'node_modules/@grpc/', '^src/(edges/grpc|edges/peer|api|gen|store/etcd)/'),
    {
      name: 'domain-runs-no-grpc',
      severity: 'error',
      from: { path: '^src/(model|catalog|domain)/' },
      to: { path: '^src/gen/.*_service\\.ts$', dependencyTypesNot: ['type-only'] },
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
