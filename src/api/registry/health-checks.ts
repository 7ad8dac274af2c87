import {
  type GrpcProbe,
  HealthCheck,
  HttpMethod,
  HttpProbe,
  type StatusRange,
  TcpProbe,
  type TlsProbe,
} from '../../gen/rollcall/v1/check.js';
import type { Endpoint } from '../../gen/rollcall/v1/instance.js';
import { CHECK_MS, LIMITS } from '../../model/limits.js';
import { SERVICE } from '../../model/names.js';
import { toDuration } from '../../model/time.js';
import type { Checker } from '../call/checker.js';

const THRESHOLD_MAX = 10;
const UNHEALTHY_DEFAULT = 3;
const HEALTHY_DEFAULT = 2;
/** The number of thresholds of intervals for which a check must have failed before it removes an instance. */
const DEREGISTER_INTERVALS = 5;
const STATUS_MIN = 100;
const STATUS_MAX = 599;
const HEADER_NAME_CHARS = 64;
const HEADER_VALUE_CHARS = 256;
const GRPC_SERVICE_CHARS = 256;
const PRINTABLE = /^[\x20-\x7e]*$/;
const PATH = /^\/[\x21-\x7e]*$/;
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/;
const HEADER_NAME = /^[A-Za-z0-9-]+$/;
/** Headers that authenticate, frame the message, or unlock the metadata services of clouds. */
const REFUSED_HEADERS =
  /^(host|connection|authorization|proxy-.*|cookie|content-.*|transfer-encoding|te|trailer|upgrade|expect|user-agent|metadata.*|x-aws-.*|x-google-.*|x-ms-.*)$/i;

/** Checks the checks of an instance, or of a service if there are no endpoints to look at, and fills their defaults. */
export function checkHealthChecks(
  check: Checker,
  field: string,
  given: readonly HealthCheck[],
  endpoints: readonly Endpoint[] | undefined,
): HealthCheck[] {
  check.count(field, given.length, LIMITS.CHECKS.value, 'checks');
  const names = new Set<string>();
  return given.slice(0, LIMITS.CHECKS.value).map((one, i) => {
    const checked = checkOne(check, `${field}[${i}]`, one, endpoints);
    if (names.has(checked.name)) check.refuse(`${field}[${i}].name`, 'is used by another check of the instance');
    names.add(checked.name);
    return checked;
  });
}

function checkOne(
  check: Checker,
  field: string,
  given: HealthCheck,
  endpoints: readonly Endpoint[] | undefined,
): HealthCheck {
  const { endpoint, probe } = given;
  if (!probe) check.refuse(`${field}.probe`, 'is required: http, tcp or grpc');
  const name = given.name === '' ? (probe?.$case ?? 'check') : check.name(`${field}.name`, given.name, SERVICE);
  if (endpoint !== '') check.name(`${field}.endpoint`, endpoint, SERVICE);
  if (endpoint !== '' && endpoints && !endpoints.some((one) => one.name === endpoint))
    check.refuse(
      `${field}.endpoint`,
      `must be one of the endpoints of the instance; ${JSON.stringify(endpoint)} is none`,
    );
  const intervalMs = check.duration(`${field}.interval`, given.interval, CHECK_MS.interval);
  const timeout = { ...CHECK_MS.timeout, default: Math.min(CHECK_MS.timeout.default, intervalMs) };
  const timeoutMs = check.duration(`${field}.timeout`, given.timeout, timeout);
  if (timeoutMs > intervalMs) check.refuse(`${field}.timeout`, 'must not be longer than the interval');
  const unhealthyThreshold = given.unhealthyThreshold || UNHEALTHY_DEFAULT;
  const leastMs = DEREGISTER_INTERVALS * unhealthyThreshold * intervalMs;
  const afterMs =
    given.deregisterAfter &&
    check.duration(`${field}.deregister_after`, given.deregisterAfter, CHECK_MS.deregisterAfter);
  if (afterMs !== undefined && afterMs < leastMs)
    check.refuse(
      `${field}.deregister_after`,
      `must be at least ${leastMs / 1_000} s: ${DEREGISTER_INTERVALS} times unhealthy_threshold intervals`,
    );
  return HealthCheck.fromPartial({
    ...{ name, endpoint, probe: checkProbe(check, field, given) },
    unhealthyThreshold: check.range(`${field}.unhealthy_threshold`, unhealthyThreshold, 1, THRESHOLD_MAX),
    interval: toDuration(intervalMs),
    timeout: toDuration(timeoutMs),
    healthyThreshold: check.range(
      `${field}.healthy_threshold`,
      given.healthyThreshold || HEALTHY_DEFAULT,
      1,
      THRESHOLD_MAX,
    ),
    ...(afterMs !== undefined && { deregisterAfter: toDuration(afterMs) }),
    ...(given.tls && { tls: checkTls(check, `${field}.tls`, given.tls) }),
  });
}

function checkProbe(check: Checker, field: string, { probe }: HealthCheck): NonNullable<HealthCheck['probe']> {
  switch (probe?.$case) {
    case 'http':
      return { $case: 'http', value: checkHttp(check, `${field}.http`, probe.value) };
    case 'grpc':
      return { $case: 'grpc', value: checkGrpc(check, `${field}.grpc`, probe.value) };
    default:
      return { $case: 'tcp', value: TcpProbe.create() };
  }
}

function checkHttp(check: Checker, field: string, given: HttpProbe): HttpProbe {
  const { path, host, headers } = given;
  if (path.length > LIMITS.CHECK_PATH_CHARS.value || (path !== '' && !PATH.test(path)))
    check.refuse(
      `${field}.path`,
      `must be "/" and up to ${LIMITS.CHECK_PATH_CHARS.value - 1} printable ASCII characters`,
    );
  checkHost(check, `${field}.host`, host);
  check.count(`${field}.headers`, headers.size, LIMITS.CHECK_HEADERS.value, 'headers');
  for (const [name, value] of headers) {
    const place = `${field}.headers[${JSON.stringify(name.slice(0, HEADER_NAME_CHARS))}]`;
    if (!HEADER_NAME.test(name) || name.length > HEADER_NAME_CHARS)
      check.refuse(place, `must have a name of up to ${HEADER_NAME_CHARS} letters, digits and "-"`);
    else if (REFUSED_HEADERS.test(name))
      check.refuse(place, 'must not be a header that authenticates, or frames the message');
    if (value.length > HEADER_VALUE_CHARS || !PRINTABLE.test(value))
      check.refuse(place, `must be up to ${HEADER_VALUE_CHARS} printable ASCII characters`);
  }
  const healthy = checkStatuses(check, `${field}.healthy_statuses`, given.healthyStatuses);
  const degraded = checkStatuses(check, `${field}.degraded_statuses`, given.degradedStatuses);
  return HttpProbe.fromPartial({
    path: path || '/',
    host,
    method: check.enumValue(`${field}.method`, given.method, HttpMethod) || HttpMethod.HTTP_METHOD_GET,
    healthyStatuses: healthy.length > 0 ? healthy : [{ from: 200, to: 299 }],
    degradedStatuses: degraded.length > 0 ? degraded : [{ from: 429, to: 429 }],
    headers,
  });
}

function checkStatuses(check: Checker, field: string, ranges: readonly StatusRange[]): StatusRange[] {
  check.count(field, ranges.length, LIMITS.CHECK_STATUSES.value, 'ranges');
  return ranges.map(({ from, to }, i) => {
    check.range(`${field}[${i}].from`, from, STATUS_MIN, STATUS_MAX);
    if (to !== 0) check.range(`${field}[${i}].to`, to, from, STATUS_MAX);
    return { from, to: to || from };
  });
}

function checkGrpc(check: Checker, field: string, { service, authority }: GrpcProbe): GrpcProbe {
  if (service.length > GRPC_SERVICE_CHARS || !PRINTABLE.test(service))
    check.refuse(`${field}.service`, `must be up to ${GRPC_SERVICE_CHARS} printable ASCII characters`);
  checkHost(check, `${field}.authority`, authority);
  return { service, authority };
}

function checkTls(check: Checker, field: string, { serverName, verify, minValidity }: TlsProbe): TlsProbe {
  checkHost(check, `${field}.server_name`, serverName);
  const ms = minValidity && check.duration(`${field}.min_validity`, minValidity, CHECK_MS.minValidity);
  return { serverName, verify, minValidity: ms === undefined ? undefined : toDuration(ms) };
}

function checkHost(check: Checker, field: string, host: string): void {
  if (host.length > LIMITS.ADDRESS_CHARS.value || (host !== '' && !HOST.test(host)))
    check.refuse(field, `must be a host name or an address, of up to ${LIMITS.ADDRESS_CHARS.value} characters`);
}
