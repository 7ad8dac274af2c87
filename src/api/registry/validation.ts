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
import { toDuration } from '../../model/time.js';
import { matcher, type Matcher } from '../../domain/registry/filter.js';
import type { InstanceRef, Registration } from '../../domain/registry/registrations.js';
import { serviceSelection } from '../../domain/registry/watching.js';
import { Validator } from '../call/validator.js';
import { validateHealthChecks } from './check-validation.js';
import { validateList, validateRead } from '../call/reads.js';
import type { ReadOptions } from '../../catalog/freshness.js';

const PORT_MAX = 65_535;
const WEIGHT_DEFAULT = 100;
export const WEIGHT_MAX = 10_000;
const APP_PROTOCOL_CHARS = 64;

/** Validates a Register and fills the defaults. `peerAddress` is the address of the caller. */
export function validateRegister(
  request: RegisterRequest,
  peerAddress: string,
): { registration: Registration; warnings: string[] } {
  const validator = new Validator();
  const given = request.instance ?? Instance.create();
  if (!request.instance) validator.refuse('instance', 'is required');
  const instance = validateInstance(validator, given, peerAddress);
  const incarnation = validator.runId('incarnation', request.incarnation);
  const replacesRevision = validator.notNegative('replaces_revision', request.replacesRevision);
  validator.done();
  const warnings = warningsOf(given, instance);
  if (given.incarnation !== '' && incarnation === undefined)
    warnings.push('instance.incarnation is ignored: to give one, set incarnation beside instance');
  return { registration: { instance, incarnation, replacesRevision }, warnings };
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

function validateInstance(validator: Validator, given: Instance, peerAddress: string): Instance {
  const namespace = validator.namespace(given.namespace, 'instance.namespace');
  const service = validator.name('instance.service', given.service, SERVICE);
  const address = validateAddress(validator, 'instance.address', given.address) || canonicalIp(peerAddress);
  const port = validator.range('instance.port', given.port, 0, PORT_MAX);
  const id = validateId(validator, given, address);
  validateTags(validator, 'instance.tags', given.tags);
  validator.labels('instance.metadata', given.metadata);
  validator.chars('instance.version', given.version, LIMITS.LABEL_CHARS.value);
  validateLocality(validator, 'instance.locality', given.locality);
  const weight = validator.range('instance.weight', given.weight ?? WEIGHT_DEFAULT, 0, WEIGHT_MAX);
  const ttlMs = validator.duration('instance.ttl', given.ttl, TTL_MS);
  const liveness = validator.enumValue('instance.liveness', given.liveness, Liveness) || Liveness.LIVENESS_HEARTBEAT;
  const endpoints = validateEndpoints(validator, given);
  const checks = validateHealthChecks(validator, 'instance.checks', given.checks, endpoints);
  checks.forEach(({ endpoint }, i) => {
    if (endpoint === '' && port === 0)
      validator.refuse(`instance.checks[${i}].endpoint`, 'is required: the instance has no main port');
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
    reported: validateReported(validator, 'instance.reported', given.reported) ?? {
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

function validateTags(validator: Validator, field: string, tags: readonly string[]): void {
  validator.count(field, tags.length, LIMITS.TAGS.value, 'tags');
  tags.forEach((tag, i) => {
    if (tag === '') validator.refuse(`${field}[${i}]`, 'must not be empty');
    validator.chars(`${field}[${i}]`, tag, LIMITS.LABEL_CHARS.value);
  });
}

function validateId(validator: Validator, given: Instance, address: string): string {
  if (given.id !== '') return validator.name('instance.id', given.id, INSTANCE_ID);
  if (given.address === '') {
    validator.refuse('instance.id', 'is required when address is empty');
    return '';
  }
  const id = `${address}:${given.port}`;
  if (!INSTANCE_ID.pattern.test(id))
    validator.refuse('instance.id', `is required: "address:port" is no valid id here. An id ${INSTANCE_ID.words}`);
  return id;
}

/** Returns the address in its canonical form. Empty is allowed. */
export function validateAddress(validator: Validator, field: string, given: string): string {
  const verdict = given === '' ? { address: '' } : readAddress(given);
  if ('address' in verdict) return verdict.address;
  validator.refuse(field, verdict.refusal);
  return given;
}

function validateEndpoints(validator: Validator, { endpoints }: Instance): Endpoint[] {
  validator.count('instance.endpoints', endpoints.length, LIMITS.ENDPOINTS.value, 'endpoints');
  const names = new Set<string>();
  return endpoints.map((endpoint, i) => {
    const field = `instance.endpoints[${i}]`;
    validator.name(`${field}.name`, endpoint.name, SERVICE);
    if (names.has(endpoint.name)) validator.refuse(`${field}.name`, 'is used by another endpoint of the instance');
    names.add(endpoint.name);
    const address = validateAddress(validator, `${field}.address`, endpoint.address);
    validator.range(`${field}.port`, endpoint.port, 1, PORT_MAX);
    validator.chars(`${field}.app_protocol`, endpoint.appProtocol, APP_PROTOCOL_CHARS);
    return Endpoint.fromPartial({ ...endpoint, address });
  });
}

function validateLocality(validator: Validator, field: string, locality: Locality | undefined): void {
  if (!locality) return;
  validator.chars(`${field}.region`, locality.region, LIMITS.LABEL_CHARS.value);
  validator.chars(`${field}.zone`, locality.zone, LIMITS.LABEL_CHARS.value);
  validator.chars(`${field}.sub_zone`, locality.subZone, LIMITS.LABEL_CHARS.value);
}

function validateReported(validator: Validator, field: string, reported: Reported | undefined): Reported | undefined {
  if (!reported) return undefined;
  const state =
    validator.enumValue(`${field}.state`, reported.state, ReportedState) || ReportedState.REPORTED_STATE_HEALTHY;
  return { state, note: validator.bytes(`${field}.note`, reported.note, LIMITS.NOTE_BYTES.value) };
}

/** Validates a Deregister. */
export function validateDeregister(request: DeregisterRequest): { ref: InstanceRef; claim: Claim } {
  const validator = new Validator();
  const names = validateNames(validator, request);
  const incarnation = validator.runId('incarnation', request.incarnation);
  const claim = validator.claim(request);
  validator.done();
  return { ref: { ...names, incarnation }, claim };
}

/** Validates a GetInstance. */
export function validateGetInstance(request: GetInstanceRequest): InstanceNames & { read: ReadOptions } {
  const validator = new Validator();
  const names = validateNames(validator, request);
  const read = validateRead(validator, request);
  validator.done();
  return { ...names, read };
}

type InstanceNames = Omit<InstanceRef, 'incarnation'>;

/** Validates the names of an instance, and fills the default. */
export function validateNames(validator: Validator, { namespace, service, id }: InstanceNames): InstanceNames {
  return {
    namespace: validator.namespace(namespace),
    service: validator.name('service', service, SERVICE),
    id: validator.name('id', id, INSTANCE_ID),
  };
}

export function validateDiscover(request: DiscoverRequest): {
  namespace: string;
  service: string;
  filter: Matcher;
  subset: Subset | undefined;
  read: ReadOptions;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  const service = validator.name('service', request.service, SERVICE);
  validateFilter(validator, request.filter);
  validateSubset(validator, request.subset);
  const read = validateRead(validator, request);
  validator.done();
  return { namespace, service, filter: matcher(request.filter), subset: request.subset, read };
}

/** Validates a subset. */
export function validateSubset(validator: Validator, subset: Subset | undefined): void {
  if (!subset) return;
  validator.range('subset.size', subset.size, 1, LIMITS.SUBSET_SIZE.value);
  if (subset.key === '') validator.refuse('subset.key', 'is required');
  validator.bytes('subset.key', subset.key, LIMITS.SUBSET_KEY_BYTES.value);
}

/** Validates a filter, with its alternatives and exclusions. */
export function validateFilter(validator: Validator, filter: InstanceFilter | undefined): void {
  if (!filter) return;
  validateCriteria(validator, 'filter', filter);
  for (const [field, filters] of [
    ['filter.any_of', filter.anyOf],
    ['filter.none_of', filter.noneOf],
  ] as const) {
    validator.count(field, filters.length, LIMITS.FILTERS.value, 'filters');
    filters.slice(0, LIMITS.FILTERS.value).forEach((one, i) => validateCriteria(validator, `${field}[${i}]`, one));
  }
  validator.count('filter.health_states', filter.healthStates.length, LIMITS.LABEL_PAIRS.value, 'states');
  filter.healthStates.forEach((state, i) => {
    validator.enumValue(`filter.health_states[${i}]`, state, Health);
    if (state === Health.HEALTH_UNSPECIFIED) validator.refuse(`filter.health_states[${i}]`, 'must not be unspecified');
  });
}

function validateCriteria(
  validator: Validator,
  field: string,
  { tags, metadata, version, locality }: InstanceCriteria,
): void {
  validateTags(validator, `${field}.tags`, tags);
  validator.labels(`${field}.metadata`, metadata);
  validator.chars(`${field}.version`, version, LIMITS.LABEL_CHARS.value);
  validateLocality(validator, `${field}.locality`, locality);
}

export function validateWatchServices(request: WatchServicesRequest): {
  selection: ReturnType<typeof serviceSelection>;
  filter: Matcher;
  resumeToken: string;
  watcher: WatcherIdentity | undefined;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  validator
    .someOrAll('services', request.services, request.all, LIMITS.WATCH_SERVICES.value)
    .forEach((service, i) => validator.name(`services[${i}]`, service, SERVICE));
  validateFilter(validator, request.filter);
  validator.watcher(request.watcher);
  validator.done();
  const filter = matcher(request.filter);
  const selection = serviceSelection(namespace, request.all ? undefined : request.services, filter);
  return { selection, filter, resumeToken: request.resumeToken, watcher: request.watcher };
}

export function validateListServices(request: ListServicesRequest): {
  namespace: string;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  const list = validateList(validator, request, ['ListServices', namespace]);
  validator.done();
  return { namespace, ...list };
}

export function validateListNamespaces(request: ListNamespacesRequest): {
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const validator = new Validator();
  const list = validateList(validator, request, ['ListNamespaces']);
  validator.done();
  return { ...list };
}
