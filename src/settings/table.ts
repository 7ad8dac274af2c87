import { DEFAULT_PORTS } from '../model/probe-rule.js';
import { LOG_LEVELS } from '../telemetry/telemetry.js';
import {
  addressRanges,
  anyText,
  hostAndPort,
  hostName,
  hostNames,
  httpUrl,
  networks,
  oneOf,
  origins,
  pemFile,
  portOrOff,
  ports,
  printable,
  share,
  someText,
  textFile,
  textUpTo,
  trueOrFalse,
  urls,
  wholeNumber,
} from './parse.js';
import { type Table, type Values } from './row.js';

/** Whether clients show certificates. */
export const CLIENT_CERTIFICATES = ['none', 'optional', 'required'] as const;

/** The instances that a server probes. */
export const CHECKS_WORDS = ['on', 'registered-address', 'off'] as const;

/** Every setting. The order is that of the help. */
export const ROWS = {
  host: {
    value: 'HOST',
    default: '127.0.0.1',
    help: 'Address to listen on. An address that is not loopback needs --access and TLS, or --insecure.',
    parse: someText,
    reload: 'restart',
  },
  'grpc-port': {
    value: 'PORT',
    default: '7400',
    help: 'Port for gRPC, 0 to 65535. 0 picks a free port, which the log names.',
    parse: wholeNumber(0, 65_535),
    reload: 'restart',
  },
  'http-port': {
    value: 'PORT|off',
    help: 'Port for HTTP, 0 to 65535, on the same --host. Default: the port after --grpc-port; 0 if that is 0.',
    parse: portOrOff,
    reload: 'restart',
  },
  'http-hosts': {
    value: 'A,B,C',
    default: '',
    help: 'Names by which HTTP requests may call this server, without ports. On loopback its names and addresses are always allowed. Default: on loopback none besides, elsewhere any.',
    parse: hostNames,
    reload: 'restart',
  },
  'http-cors-origins': {
    value: 'A,B,C',
    default: '',
    help: 'Origins of web pages that may call the HTTP port, such as https://console.example.org. Default: none but its own.',
    parse: origins,
    reload: 'restart',
  },
  'trusted-proxies': {
    value: 'A,B,C',
    default: '',
    help: 'Addresses, or ranges such as 192.168.0.0/16, of proxies whose header x-forwarded-for says where a call came from. Quotas and the audit go by that address. Default: none, so a client is the address that connects.',
    parse: addressRanges,
    reload: 'restart',
  },
  store: {
    value: 'embedded|etcd',
    default: 'embedded',
    help: 'Where state is kept: in a folder of this server, or in etcd.',
    parse: oneOf(['embedded', 'etcd']),
    reload: 'restart',
  },
  'etcd-endpoints': {
    value: 'A,B,C',
    help: 'URLs of etcd, such as http://10.0.0.1:2379, all http or all https. Required for --store etcd.',
    parse: urls,
    reload: 'restart',
  },
  'etcd-prefix': {
    value: 'PREFIX',
    default: 'rollcall/',
    help: 'Prefix of all keys in etcd: 1 to 128 printable ASCII characters.',
    parse: printable(128),
    reload: 'restart',
  },
  'etcd-ca': {
    value: 'FILE',
    help: "CA certificates (PEM) used to verify etcd. Default: the system's CAs.",
    parse: pemFile,
    reload: 'restart',
  },
  'etcd-cert': {
    value: 'FILE',
    help: 'Client certificate (PEM) that this server presents to etcd. Needs --etcd-key. Default: none.',
    parse: pemFile,
    reload: 'restart',
  },
  'etcd-key': {
    value: 'FILE',
    help: 'Private key (PEM) of --etcd-cert. Default: none.',
    parse: pemFile,
    secret: true,
    reload: 'restart',
  },
  'etcd-user': {
    value: 'NAME',
    help: 'User name for an etcd with authentication. Needs --etcd-password-file. Default: no authentication.',
    parse: anyText,
    reload: 'restart',
  },
  'etcd-password-file': {
    value: 'FILE',
    help: 'File with the password of --etcd-user. White space at its end is ignored. Default: none.',
    parse: textFile,
    secret: true,
    reload: 'restart',
  },
  advertise: {
    value: 'HOST:PORT',
    help: 'Address at which the other servers on the same etcd reach this one. Default: --host and the gRPC port. If --host is 0.0.0.0 or ::, the name of the machine replaces it.',
    parse: hostAndPort,
    reload: 'restart',
  },
  node: {
    value: 'NAME',
    help: 'Name of this node, up to 128 characters; keep it the same across restarts. Default: the advertised address.',
    parse: textUpTo(128),
    reload: 'restart',
  },
  'protection-max-hours': {
    value: 'HOURS',
    default: '24',
    help: 'Hours, 1 to 8760, after which the protection of a service ends in any case.',
    parse: wholeNumber(1, 8_760),
    reload: 'hot',
  },
  'stream-age-seconds': {
    value: 'SECONDS',
    default: '1200',
    help: 'Age, 10 to 86400 seconds, at which a stream ends; drawn for each, up to a quarter longer. Choose less than any proxy cuts.',
    parse: wholeNumber(10, 86_400),
    reload: 'restart',
  },
  checks: {
    value: CHECKS_WORDS.join('|'),
    help: 'Which instances this server probes for their health checks: all, or only those at the address from which they registered, or none. Default: on if --host is loopback or --access is set, else registered-address.',
    parse: oneOf(CHECKS_WORDS),
    reload: 'restart',
  },
  'check-networks': {
    value: 'RANGES',
    help: 'Networks that health checks may reach, such as 10.0.0.0/8,fd00::/8, beside the loopback of a server that is bound to it. Link-local addresses and metadata services of clouds are never probed. Default: private networks, and those of this machine.',
    parse: networks,
    reload: 'restart',
  },
  'check-ports': {
    value: 'PORTS',
    default: DEFAULT_PORTS,
    help: 'Ports that health checks may reach. The ports of the servers and of etcd are never probed.',
    parse: ports,
    reload: 'restart',
  },
  'check-ca': {
    value: 'FILE',
    help: 'CA certificates (PEM) that health checks with "verify" trust. Default: those of Node.',
    parse: pemFile,
    reload: 'restart',
  },
  'check-open-max': {
    value: 'COUNT',
    default: '2000',
    help: 'Probes, 1 to 20000, that are open at once; never more than a quarter of the files that the process may open. With more checks, intervals grow.',
    parse: wholeNumber(1, 20_000),
    reload: 'restart',
  },
  'data-dir': {
    value: 'FOLDER',
    default: './data',
    help: 'Folder of the embedded store, for one server only. Created if it does not exist.',
    parse: anyText,
    reload: 'restart',
  },
  settings: {
    value: 'FILE',
    help: 'File with settings in YAML. Its keys are the names of the flags without dashes. Flags and variables override it. Default: none.',
    parse: someText,
    reload: 'restart',
  },
  'otlp-endpoint': {
    value: 'URL',
    help: 'Where traces are sent: a collector that takes OTLP over HTTP, such as http://10.0.0.1:4318. /v1/traces is added to a URL without a path. Default: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT; without them no traces.',
    parse: httpUrl,
    reload: 'restart',
  },
  'trace-share': {
    value: 'SHARE',
    default: '0.01',
    help: 'Share of the calls that begin a trace, 0 to 1. A call that belongs to a trace is recorded if that trace is. Heartbeats never begin one.',
    parse: share,
    reload: 'restart',
  },
  'log-level': {
    value: LOG_LEVELS.join('|'),
    default: 'info',
    help: 'Level of the log, which is written to standard error as JSON lines.',
    parse: oneOf(LOG_LEVELS),
    reload: 'hot',
  },
  'tls-cert': {
    value: 'FILE',
    help: 'Certificate (PEM) of this server for gRPC and HTTP, followed by those of the authorities between it and the root. Needs --tls-key. Default: no TLS.',
    parse: pemFile,
    reload: 'restart',
  },
  'tls-key': {
    value: 'FILE',
    help: 'Private key (PEM) of --tls-cert. Default: none.',
    parse: pemFile,
    secret: true,
    reload: 'restart',
  },
  'tls-client-certs': {
    value: 'none|optional|required',
    default: 'none',
    help: 'Whether clients show a certificate. A call without one that is required, or with one that cannot be verified, is refused; probes and health checks are answered.',
    parse: oneOf(CLIENT_CERTIFICATES),
    reload: 'restart',
  },
  'tls-client-ca': {
    value: 'FILE',
    help: 'CA certificates (PEM) used to verify the certificates of clients. Default: none.',
    parse: pemFile,
    reload: 'restart',
  },
  'tls-crl': {
    value: 'FILE',
    help: 'Lists (PEM) of revoked certificates, one for each CA of --tls-client-ca. Default: none.',
    parse: pemFile,
    reload: 'restart',
  },
  'peer-ca': {
    value: 'FILE',
    help: 'CA certificates (PEM) used to verify the other servers of the cluster. Default: --tls-client-ca, else those of the system.',
    parse: pemFile,
    reload: 'restart',
  },
  'peer-name': {
    value: 'NAME',
    help: 'Name that the certificate of every server of the cluster has, where it cannot have the advertised host. Default: the advertised host.',
    parse: hostName,
    reload: 'restart',
  },
  access: {
    value: 'FILE',
    help: 'File that says who may do what; see docs/guides/security.md. It is read again every 5 s. Default: none, so every caller may do everything.',
    parse: someText,
    reload: 'restart',
  },
  'jwt-keys-max-hours': {
    value: 'HOURS',
    default: '24',
    help: 'Hours, 1 to 720, for which the keys of an issuer of JWTs count after they were read last, because the issuer may be away.',
    parse: wholeNumber(1, 720),
    reload: 'hot',
  },
  'audit-log': {
    value: 'FILE|stderr',
    help: 'Where the audit is written, as JSON lines: config writes, decisions of operators, Deregister, and refused calls. SIGHUP opens the file again. Default: nowhere; the newest 10,000 events are kept in memory.',
    parse: someText,
    reload: 'restart',
  },
  audit: {
    value: 'writes|all',
    default: 'writes',
    help: 'Calls that the audit has beside refused ones: writes, or all, which is Register too.',
    parse: oneOf(['writes', 'all']),
    reload: 'restart',
  },
  'audit-required': {
    help: 'Refuse config writes and decisions of operators while the audit cannot be written. Needs --audit-log. Default: off.',
    parse: trueOrFalse,
    reload: 'restart',
  },
  insecure: {
    help: 'Allow a --host that is not loopback without TLS or without --access. Default: off.',
    parse: trueOrFalse,
    reload: 'restart',
  },
} as const satisfies Table;

/** The name of a setting. */
export type SettingName = keyof typeof ROWS;

/** The values of all settings, each as its parser returns it. */
export type SettingValues = Values<typeof ROWS>;
