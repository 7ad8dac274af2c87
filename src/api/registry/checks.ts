import { isIP } from 'node:net';
import {
  Endpoint,
  Health,
  HealthReason,
  Instance,
  type InstanceCriteria,
  type InstanceFilter,
  Liveness,
  Locality,
  type Reported,
  ReportedState,
} from '../../gen/rollcall/v1/instance.js';
import type {
  DeregisterRequest,
  DiscoverRequest,
  GetInstanceRequest,
  ListNamespacesRequest,
  ListServicesRequest,
  RegisterRequest,
  Subset,
  WatchServicesRequest,
} from '../../gen/rollcall/v1/registry_service.js';
import type { WatcherIdentity } from '../../gen/rollcall/v1/watch.js';
import { canonicalIp, readAddress } from '../../model/address.js';
import type { Claim } from '../../model/actor.js';
import { LIMITS, TTL_MS } from '../../model/limits.js';
import { INSTANCE_ID, SERVICE } from '../../model/names.js';
import { hashSelection } from '../../model/tokens.js';
import { toDuration } from '../../model/time.js';
import { matcher, type Matcher } from '../../domain/registry/filter.js';
import type { InstanceRef, Registration } from '../../domain/registry/registrations.js';
import { serviceSelection } from '../../domain/registry/watching.js';
import { Checker } from '../call/checker.js';
import { checkHealthChecks } from './health-checks.js';
import { checkRead } from '../call/reads.js';
import type { ReadOptions } from '../../catalog/freshness.js';

const PORT_MAX = 65_535;
const WEIGHT_DEFAULT = 100;
export const WEIGHT_MAX = 10_000;
const APP_PROTOCOL_CHARS = 64;

/** Checks a Register and fills the defaults. `peerAddress` is the address of the caller. */
export function checkRegister(
  request: RegisterRequest,
  peerAddress: string,
): { registration: Registration; warnings: string[] } {
  const check = new Checker();
  const given = request.instance ?? Instance.create();
  if (!request.instance) check.refuse('instance', 'is required');
  const instance = checkInstance(check, given, peerAddress);
  const incarnation = check.runId('incarnation', request.incarnation);
  const replacesRevision = check.notNegative('replaces_revision', request.replacesRevision);
  check.done();
  return { registration: { instance, incarnation, replacesRevision }, warnings: warningsOf(given, instance) };
}

/** Warnings about fields that the server accepts, although they are probably a mistake. */
function warningsOf(given: Instance, { id, address, port, endpoints, liveness, checks }: Instance): string[] {
  const warnings: string[] = [];
  if (given.address === '')
    warnings.push(`address is empty: ${address}, where the request came from, is taken; behind NAT that is wrong`);
  if (given.id === '' && port === 0)
    warnings.push(`id and port are empty: the id is ${id}, and callers are told of no port`);
  if (isIP(address) === 0)
    warnings.push(`address "${address}" is a host name: clients that need an IP address, such as xDS, will not see it`);
  for (const host of new Set([address, ...endpoints.map((endpoint) => endpoint.address)]))
    if (host.includes('_'))
      warnings.push(`address "${host}" has a "_", which host names must not have: some resolvers refuse it`);
  if (liveness === Liveness.LIVENESS_HEARTBEAT && checks.some(({ deregisterAfter }) => deregisterAfter))
    warnings.push('deregister_after is meant for LIVENESS_STATIC: a process that sends heartbeats registers again');
  return warnings;
}

function checkInstance(check: Checker, given: Instance, peerAddress: string): Instance {
  const namespace = check.namespace(given.namespace, 'instance.namespace');
  const service = check.name('instance.service', given.service, SERVICE);
  const address = checkAddress(check, 'instance.address', given.address) || canonicalIp(peerAddress);
  const port = check.range('instance.port', given.port, 0, PORT_MAX);
  const id = checkId(check, given, address);
  checkTags(check, 'instance.tags', given.tags);
  check.labels('instance.metadata', given.metadata);
  check.chars('instance.version', given.version, LIMITS.LABEL_CHARS.value);
  checkLocality(check, 'instance.locality', given.locality);
  const weight = check.range('instance.weight', given.weight ?? WEIGHT_DEFAULT, 0, WEIGHT_MAX);
  const ttlMs = check.duration('instance.ttl', given.ttl, TTL_MS);
  const liveness = check.enumValue('instance.liveness', given.liveness, Liveness) || Liveness.LIVENESS_HEARTBEAT;
  const endpoints = checkEndpoints(check, given);
  const checks = checkHealthChecks(check, 'instance.checks', given.checks, endpoints);
  checks.forEach(({ endpoint }, i) => {
    if (endpoint === '' && port === 0)
      check.refuse(`instance.checks[${i}].endpoint`, 'is required: the instance has no main port');
  });
  return {
    namespace,
    service,
    id,
    address,
    port,
    endpoints,
    tags: [...new Set(given.tags)].sort(),
    metadata: given.metadata,
    version: given.version,
    locality: given.locality && Locality.fromPartial(given.locality),
    weight,
    ttl: toDuration(ttlMs),
    liveness,
    reported: checkReported(check, 'instance.reported', given.reported) ?? {
      state: ReportedState.REPORTED_STATE_HEALTHY,
      note: '',
    },
    checks,
    healthNote: '',
    incarnation: '',
    health: Health.HEALTH_UNSPECIFIED,
    healthReason: HealthReason.HEALTH_REASON_UNSPECIFIED,
    revision: 0n,
    registrationRevision: 0n,
    registerTime: undefined,
    changeTime: undefined,
  };
}

function checkTags(check: Checker, field: string, tags: readonly string[]): void {
  check.count(field, tags.length, LIMITS.TAGS.value, 'tags');
  tags.forEach((tag, i) => {
    if (tag === '') check.refuse(`${field}[${i}]`, 'must not be empty');
    check.chars(`${field}[${i}]`, tag, LIMITS.LABEL_CHARS.value);
  });
}

function checkId(check: Checker, given: Instance, address: string): string {
  if (given.id !== '') return check.name('instance.id', given.id, INSTANCE_ID);
  if (given.address === '') {
    check.refuse('instance.id', 'is required when address is empty');
    return '';
  }
  const id = `${address}:${given.port}`;
  if (!INSTANCE_ID.pattern.test(id))
    check.refuse('instance.id', `is required: "address:port" is no valid id here. An id ${INSTANCE_ID.words}`);
  return id;
}

/** Returns the address in its canonical form. Empty is allowed. */
export function checkAddress(check: Checker, field: string, given: string): string {
  const verdict = given === '' ? { address: '' } : readAddress(given);
  if ('address' in verdict) return verdict.address;
  check.refuse(field, verdict.refusal);
  return given;
}

function checkEndpoints(check: Checker, { endpoints }: Instance): Endpoint[] {
  check.count('instance.endpoints', endpoints.length, LIMITS.ENDPOINTS.value, 'endpoints');
  const names = new Set<string>();
  return endpoints.map((endpoint, i) => {
    const field = `instance.endpoints[${i}]`;
    check.name(`${field}.name`, endpoint.name, SERVICE);
    if (names.has(endpoint.name)) check.refuse(`${field}.name`, 'is used by another endpoint of the instance');
    names.add(endpoint.name);
    const address = checkAddress(check, `${field}.address`, endpoint.address);
    check.range(`${field}.port`, endpoint.port, 1, PORT_MAX);
    check.chars(`${field}.app_protocol`, endpoint.appProtocol, APP_PROTOCOL_CHARS);
    return Endpoint.fromPartial({ ...endpoint, address });
  });
}

function checkLocality(check: Checker, field: string, locality: Locality | undefined): void {
  if (!locality) return;
  check.chars(`${field}.region`, locality.region, LIMITS.LABEL_CHARS.value);
  check.chars(`${field}.zone`, locality.zone, LIMITS.LABEL_CHARS.value);
  check.chars(`${field}.sub_zone`, locality.subZone, LIMITS.LABEL_CHARS.value);
}

function checkReported(check: Checker, field: string, reported: Reported | undefined): Reported | undefined {
  if (!reported) return undefined;
  const state =
    check.enumValue(`${field}.state`, reported.state, ReportedState) || ReportedState.REPORTED_STATE_HEALTHY;
  return { state, note: check.bytes(`${field}.note`, reported.note, LIMITS.NOTE_BYTES.value) };
}

/** Checks a Deregister. */
export function checkDeregister(request: DeregisterRequest): { ref: InstanceRef; claim: Claim } {
  const check = new Checker();
  const names = checkNames(check, request);
  const incarnation = check.runId('incarnation', request.incarnation);
  const claim = check.claim(request);
  check.done();
  return { ref: { ...names, incarnation }, claim };
}

/** Checks a GetInstance. */
export function checkGetInstance(request: GetInstanceRequest): InstanceNames & { read: ReadOptions } {
  const check = new Checker();
  const names = checkNames(check, request);
  const read = checkRead(check, request);
  check.done();
  return { ...names, read };
}

type InstanceNames = Omit<InstanceRef, 'incarnation'>;

/** Checks the names of an instance, and fills the default. */
export function checkNames(check: Checker, { namespace, service, id }: InstanceNames): InstanceNames {
  return {
    namespace: check.namespace(namespace),
    service: check.name('service', service, SERVICE),
    id: check.name('id', id, INSTANCE_ID),
  };
}

export function checkDiscover(request: DiscoverRequest): {
  namespace: string;
  service: string;
  filter: Matcher;
  subset: Subset | undefined;
  read: ReadOptions;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const service = check.name('service', request.service, SERVICE);
  checkFilter(check, request.filter);
  checkSubset(check, request.subset);
  const read = checkRead(check, request);
  check.done();
  return { namespace, service, filter: matcher(request.filter), subset: request.subset, read };
}

/** Checks a subset. */
export function checkSubset(check: Checker, subset: Subset | undefined): void {
  if (!subset) return;
  check.range('subset.size', subset.size, 1, LIMITS.SUBSET_SIZE.value);
  if (subset.key === '') check.refuse('subset.key', 'is required');
  check.bytes('subset.key', subset.key, LIMITS.SUBSET_KEY_BYTES.value);
}

/** Checks a filter, with its alternatives and exclusions. */
export function checkFilter(check: Checker, filter: InstanceFilter | undefined): void {
  if (!filter) return;
  checkCriteria(check, 'filter', filter);
  for (const [field, filters] of [
    ['filter.any_of', filter.anyOf],
    ['filter.none_of', filter.noneOf],
  ] as const) {
    check.count(field, filters.length, LIMITS.FILTERS.value, 'filters');
    filters.slice(0, LIMITS.FILTERS.value).forEach((one, i) => checkCriteria(check, `${field}[${i}]`, one));
  }
  check.count('filter.health_states', filter.healthStates.length, LIMITS.LABEL_PAIRS.value, 'states');
  filter.healthStates.forEach((state, i) => {
    check.enumValue(`filter.health_states[${i}]`, state, Health);
    if (state === Health.HEALTH_UNSPECIFIED) check.refuse(`filter.health_states[${i}]`, 'must not be unspecified');
  });
}

function checkCriteria(check: Checker, field: string, { tags, metadata, version, locality }: InstanceCriteria): void {
  checkTags(check, `${field}.tags`, tags);
  check.labels(`${field}.metadata`, metadata);
  check.chars(`${field}.version`, version, LIMITS.LABEL_CHARS.value);
  checkLocality(check, `${field}.locality`, locality);
}

export function checkWatchServices(request: WatchServicesRequest): {
  selection: ReturnType<typeof serviceSelection>;
  filter: Matcher;
  resumeToken: string;
  watcher: WatcherIdentity | undefined;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  check
    .someOrAll('services', request.services, request.all, LIMITS.WATCH_SERVICES.value)
    .forEach((service, i) => check.name(`services[${i}]`, service, SERVICE));
  checkFilter(check, request.filter);
  check.watcher(request.watcher);
  check.done();
  const filter = matcher(request.filter);
  const selection = serviceSelection(namespace, request.all ? undefined : request.services, filter);
  return { selection, filter, resumeToken: request.resumeToken, watcher: request.watcher };
}

export function checkListServices(request: ListServicesRequest): {
  namespace: string;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const selection = hashSelection(['ListServices', namespace]);
  const { size, after } = check.page(request, selection);
  const read = checkRead(check, request);
  check.done();
  return { namespace, size, after: after[0] ?? '', selection, read };
}

export function checkListNamespaces(request: ListNamespacesRequest): {
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const check = new Checker();
  const selection = hashSelection(['ListNamespaces']);
  const { size, after } = check.page(request, selection);
  const read = checkRead(check, request);
  check.done();
  return { size, after: after[0] ?? '', selection, read };
}
