// Imports point down only: base <- model, gen <- store <- catalog <- registry, health, config <- replica <- api <- server.
const layers = [
  ['base', []],
  ['gen', []],
  ['model', ['base', 'gen']],
  ['store', ['base', 'model', 'gen']],
  ['catalog', ['base', 'model', 'gen', 'store/store']],
  ['registry', ['base', 'model', 'gen', 'store/store', 'catalog']],
  ['health', ['base', 'model', 'gen', 'store/store', 'catalog']],
  ['cluster', ['base', 'model', 'gen', 'store/store', 'catalog', 'health']],
  ['config', ['base', 'model', 'gen', 'store/store', 'catalog']],
  ['telemetry', ['base']],
  ['settings', ['base', 'telemetry']],
  ['api', ['base', 'model', 'gen', 'catalog', 'registry', 'health', 'config', 'cluster', 'replica', 'telemetry']],
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
    onlyFrom('grpc-only-at-the-edges', 'node_modules/@grpc/', '^src/(api/grpc|api/peer|gen|store/etcd)/'),
    {
      name: 'domain-runs-no-grpc',
      severity: 'error',
      from: { path: '^src/(model|catalog|registry|health|config|cluster)/' },
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
