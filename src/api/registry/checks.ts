import { isIP } from 'node:net';
import type { HeartbeatItem } from '../../gen/rollcall/v1/heartbeat.js';
import {
  Endpoint,
  Health,
  HealthReason,
  Instance,
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
import { LIMITS, TTL_MS } from '../../model/limits.js';
import { INSTANCE_ID, NAMESPACE, RUN_ID, SERVICE } from '../../model/names.js';
import { hashSelection } from '../../model/tokens.js';
import { toDuration } from '../../model/time.js';
import { matcher, type Matcher } from '../../domain/registry/filter.js';
import type { InstanceRef, Registration } from '../../domain/registry/registrations.js';
import { serviceSelection } from '../../domain/registry/watching.js';
import { Checker, NAME_DEFAULT } from '../call/checker.js';
import { checkRead } from '../call/reads.js';
import type { ReadOptions } from '../../catalog/freshness.js';

const HOST = /^(?!.*\.\.)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/;
const PORT_MAX = 65_535;
const WEIGHT_DEFAULT = 100;
const WEIGHT_MAX = 10_000;
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
  const warnings =
    given.address === ''
      ? [`address is empty: ${instance.address}, where the request came from, is taken; behind NAT that is wrong`]
      : [];
  if (given.id === '' && instance.port === 0)
    warnings.push(`id and port are empty: the id is ${instance.id}, and callers are told of no port`);
  if (isIP(instance.address) === 0)
    warnings.push(
      `address "${instance.address}" is a host name: clients that need an IP address, such as xDS, will not see it`,
    );
  return { registration: { instance, incarnation, replacesRevision }, warnings };
}

function checkInstance(check: Checker, given: Instance, peerAddress: string): Instance {
  const namespace = check.namespace(given.namespace, 'instance.namespace');
  const service = check.name('instance.service', given.service, SERVICE);
  const address = checkAddress(check, 'instance.address', given.address) || peerAddress;
  const port = check.range('instance.port', given.port, 0, PORT_MAX);
  const id = checkId(check, given, address);
  check.count('instance.tags', given.tags.length, LIMITS.TAGS.value, 'tags');
  given.tags.forEach((tag, i) => {
    if (tag === '') check.refuse(`instance.tags[${i}]`, 'must not be empty');
    check.chars(`instance.tags[${i}]`, tag, LIMITS.LABEL_CHARS.value);
  });
  check.labels('instance.metadata', given.metadata);
  check.chars('instance.version', given.version, LIMITS.LABEL_CHARS.value);
  checkLocality(check, 'instance.locality', given.locality);
  checkEndpoints(check, given);
  const weight = check.range('instance.weight', given.weight ?? WEIGHT_DEFAULT, 0, WEIGHT_MAX);
  const ttlMs = check.duration('instance.ttl', given.ttl, TTL_MS);
  const liveness = check.enumValue('instance.liveness', given.liveness, Liveness) || Liveness.LIVENESS_HEARTBEAT;
  return {
    namespace,
    service,
    id,
    address,
    port,
    endpoints: given.endpoints.map((endpoint) => Endpoint.fromPartial(endpoint)),
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
    incarnation: '',
    health: Health.HEALTH_UNSPECIFIED,
    healthReason: HealthReason.HEALTH_REASON_UNSPECIFIED,
    revision: 0n,
    registerTime: undefined,
    changeTime: undefined,
  };
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

function checkAddress(check: Checker, field: string, address: string): string {
  if (address.length > LIMITS.ADDRESS_CHARS.value)
    check.refuse(field, `must be up to ${LIMITS.ADDRESS_CHARS.value} characters; it has ${address.length}`);
  else if (address !== '' && isIP(address) === 0 && !HOST.test(address))
    check.refuse(field, 'must be an IP address or a host name');
  return address;
}

function checkEndpoints(check: Checker, { endpoints }: Instance): void {
  check.count('instance.endpoints', endpoints.length, LIMITS.ENDPOINTS.value, 'endpoints');
  const names = new Set<string>();
  endpoints.forEach((endpoint, i) => {
    const field = `instance.endpoints[${i}]`;
    check.name(`${field}.name`, endpoint.name, SERVICE);
    if (names.has(endpoint.name)) check.refuse(`${field}.name`, 'is used by another endpoint of the instance');
    names.add(endpoint.name);
    checkAddress(check, `${field}.address`, endpoint.address);
    check.range(`${field}.port`, endpoint.port, 1, PORT_MAX);
    check.chars(`${field}.app_protocol`, endpoint.appProtocol, APP_PROTOCOL_CHARS);
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
export function checkDeregister(request: DeregisterRequest): InstanceRef {
  const check = new Checker();
  const names = checkNames(check, request);
  const incarnation = check.runId('incarnation', request.incarnation);
  check.done();
  return { ...names, incarnation };
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

function checkNames(check: Checker, { namespace, service, id }: InstanceNames): InstanceNames {
  return {
    namespace: check.namespace(namespace),
    service: check.name('service', service, SERVICE),
    id: check.name('id', id, INSTANCE_ID),
  };
}

/** Checks the items of a heartbeat and fills the defaults. Changes the items in place: this is the hottest path. */
export function checkHeartbeats(items: HeartbeatItem[]): readonly HeartbeatItem[] {
  const check = new Checker();
  if (items.length === 0) check.refuse('instances', 'must have at least one item');
  check.count('instances', items.length, LIMITS.HEARTBEAT_ITEMS.value, 'items');
  if (items.length > LIMITS.HEARTBEAT_ITEMS.value) check.done();
  items.forEach((item, i) => {
    if (item.namespace === '') item.namespace = NAME_DEFAULT;
    const fine =
      NAMESPACE.pattern.test(item.namespace) &&
      SERVICE.pattern.test(item.service) &&
      INSTANCE_ID.pattern.test(item.id) &&
      (item.incarnation === undefined || RUN_ID.pattern.test(item.incarnation)) &&
      item.reported === undefined;
    if (!fine) checkHeartbeat(check, item, `instances[${i}]`);
  });
  check.done();
  return items;
}

/** Reports every violation of one item. */
function checkHeartbeat(check: Checker, item: HeartbeatItem, field: string): void {
  check.namespace(item.namespace, `${field}.namespace`);
  check.name(`${field}.service`, item.service, SERVICE);
  check.name(`${field}.id`, item.id, INSTANCE_ID);
  check.runId(`${field}.incarnation`, item.incarnation);
  item.reported = checkReported(check, `${field}.reported`, item.reported);
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
  if (request.subset) {
    check.range('subset.size', request.subset.size, 1, LIMITS.SUBSET_SIZE.value);
    if (request.subset.key === '') check.refuse('subset.key', 'is required');
    check.bytes('subset.key', request.subset.key, LIMITS.SUBSET_KEY_BYTES.value);
  }
  const read = checkRead(check, request);
  check.done();
  return { namespace, service, filter: matcher(request.filter), subset: request.subset, read };
}

function checkFilter(check: Checker, filter: InstanceFilter | undefined): void {
  if (!filter) return;
  check.count('filter.tags', filter.tags.length, LIMITS.TAGS.value, 'tags');
  filter.tags.forEach((tag, i) => check.chars(`filter.tags[${i}]`, tag, LIMITS.LABEL_CHARS.value));
  check.labels('filter.metadata', filter.metadata);
  check.chars('filter.version', filter.version, LIMITS.LABEL_CHARS.value);
  checkLocality(check, 'filter.locality', filter.locality);
  check.count('filter.health_states', filter.healthStates.length, LIMITS.LABEL_PAIRS.value, 'states');
  filter.healthStates.forEach((state, i) => {
    check.enumValue(`filter.health_states[${i}]`, state, Health);
    if (state === Health.HEALTH_UNSPECIFIED) check.refuse(`filter.health_states[${i}]`, 'must not be unspecified');
  });
}

export function checkWatchServices(request: WatchServicesRequest): {
  selection: ReturnType<typeof serviceSelection>;
  filter: Matcher;
  resumeToken: string;
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
  return { selection, filter, resumeToken: request.resumeToken };
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
