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
import type { Validator } from '../call/validator.js';

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
const PATH = /^\/[\x21\x22\x24-\x7e]*$/;
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/;
const HEADER_NAME = /^[A-Za-z0-9-]+$/;
/** Headers that frame the message, authenticate, name the one who asks, or unlock the metadata services of clouds. */
const REFUSED_HEADERS =
  /^(host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|.*authorization|proxy-.*|cookie|x-auth.*|.*(token|key|secret|password|jwt)|user-agent|from|referer|forwarded|x-forwarded.*|x-real-ip|x-client-.*|metadata.*|x-(aws|google|ms|aliyun|tencent)-.*)$/i;
const REFUSED_HEADERS_RULE =
  'must not be a header that frames the message, authenticates, names the client, or unlocks the metadata of a cloud';
const PORT_MAX = 65_535;
/** Answers with other codes below 200 are not final. */
const SWITCHING_PROTOCOLS = 101;
const FINAL_STATUS_MIN = 200;

/** Validates the checks of an instance, or of a service if there are no endpoints to look at, and fills their defaults. */
export function validateHealthChecks(
  validator: Validator,
  field: string,
  given: readonly HealthCheck[],
  endpoints: readonly Endpoint[] | undefined,
): HealthCheck[] {
  validator.count(field, given.length, LIMITS.CHECKS.value, 'checks');
  const names = new Set<string>();
  return given.slice(0, LIMITS.CHECKS.value).map((one, i) => {
    const validated = validateOne(validator, `${field}[${i}]`, one, endpoints);
    if (names.has(validated.name)) validator.refuse(`${field}[${i}].name`, 'is used by another check of the instance');
    names.add(validated.name);
    return validated;
  });
}

function validateOne(
  validator: Validator,
  field: string,
  given: HealthCheck,
  endpoints: readonly Endpoint[] | undefined,
): HealthCheck {
  const { endpoint, probe } = given;
  if (!probe) validator.refuse(`${field}.probe`, 'is required: http, tcp or grpc');
  const name = given.name === '' ? (probe?.$case ?? 'check') : validator.name(`${field}.name`, given.name, SERVICE);
  if (endpoint !== '') validator.name(`${field}.endpoint`, endpoint, SERVICE);
  if (endpoint !== '' && endpoints && !endpoints.some((one) => one.name === endpoint))
    validator.refuse(
      `${field}.endpoint`,
      `must be one of the endpoints of the instance; ${JSON.stringify(endpoint)} is none`,
    );
  const intervalMs = validator.duration(`${field}.interval`, given.interval, CHECK_MS.interval);
  const timeout = { ...CHECK_MS.timeout, default: Math.min(CHECK_MS.timeout.default, intervalMs) };
  const timeoutMs = validator.duration(`${field}.timeout`, given.timeout, timeout);
  if (timeoutMs > intervalMs)
    validator.refuse(`${field}.timeout`, `must not be longer than the interval, which is ${intervalMs / 1_000} s`);
  const unhealthyThreshold = given.unhealthyThreshold || UNHEALTHY_DEFAULT;
  const leastMs = DEREGISTER_INTERVALS * unhealthyThreshold * intervalMs;
  const afterMs =
    given.deregisterAfter &&
    validator.duration(`${field}.deregister_after`, given.deregisterAfter, CHECK_MS.deregisterAfter);
  if (afterMs !== undefined && afterMs < leastMs)
    validator.refuse(
      `${field}.deregister_after`,
      `must be at least ${leastMs / 1_000} s: ${DEREGISTER_INTERVALS} times unhealthy_threshold intervals`,
    );
  return HealthCheck.fromPartial({
    ...{ name, endpoint, probe: validateProbe(validator, field, given) },
    unhealthyThreshold: validator.range(`${field}.unhealthy_threshold`, unhealthyThreshold, 1, THRESHOLD_MAX),
    interval: toDuration(intervalMs),
    timeout: toDuration(timeoutMs),
    healthyThreshold: validator.range(
      `${field}.healthy_threshold`,
      given.healthyThreshold || HEALTHY_DEFAULT,
      1,
      THRESHOLD_MAX,
    ),
    ...(afterMs !== undefined && { deregisterAfter: toDuration(afterMs) }),
    ...(given.tls && { tls: validateTls(validator, `${field}.tls`, given.tls) }),
  });
}

function validateProbe(validator: Validator, field: string, { probe }: HealthCheck): NonNullable<HealthCheck['probe']> {
  switch (probe?.$case) {
    case 'http':
      return { $case: 'http', value: validateHttp(validator, `${field}.http`, probe.value) };
    case 'grpc':
      return { $case: 'grpc', value: validateGrpc(validator, `${field}.grpc`, probe.value) };
    default:
      return { $case: 'tcp', value: TcpProbe.create() };
  }
}

function validateHttp(validator: Validator, field: string, given: HttpProbe): HttpProbe {
  const { path, host, headers } = given;
  if (path.length > LIMITS.CHECK_PATH_CHARS.value || (path !== '' && !PATH.test(path)))
    validator.refuse(
      `${field}.path`,
      `must be "/" and up to ${LIMITS.CHECK_PATH_CHARS.value - 1} printable ASCII characters without "#"`,
    );
  validateHost(validator, `${field}.host`, host);
  validator.count(`${field}.headers`, headers.size, LIMITS.CHECK_HEADERS.value, 'headers');
  const names = new Set<string>();
  for (const [name, value] of headers) {
    const place = `${field}.headers[${JSON.stringify(name.slice(0, HEADER_NAME_CHARS))}]`;
    if (!HEADER_NAME.test(name) || name.length > HEADER_NAME_CHARS)
      validator.refuse(place, `must have a name of up to ${HEADER_NAME_CHARS} letters, digits and "-"`);
    else if (REFUSED_HEADERS.test(name)) validator.refuse(place, REFUSED_HEADERS_RULE);
    else if (names.has(name.toLowerCase())) validator.refuse(place, 'is there twice: case makes no difference');
    names.add(name.toLowerCase());
    if (value.length > HEADER_VALUE_CHARS || !PRINTABLE.test(value))
      validator.refuse(place, `must be up to ${HEADER_VALUE_CHARS} printable ASCII characters`);
  }
  const healthy = validateStatuses(validator, `${field}.healthy_statuses`, given.healthyStatuses);
  const degraded = validateStatuses(validator, `${field}.degraded_statuses`, given.degradedStatuses);
  return HttpProbe.fromPartial({
    path: path || '/',
    host,
    method: validator.enumValue(`${field}.method`, given.method, HttpMethod) || HttpMethod.HTTP_METHOD_GET,
    healthyStatuses: healthy.length > 0 ? healthy : [{ from: 200, to: 299 }],
    degradedStatuses: degraded.length > 0 ? degraded : [{ from: 429, to: 429 }],
    headers,
  });
}

function validateStatuses(validator: Validator, field: string, ranges: readonly StatusRange[]): StatusRange[] {
  validator.count(field, ranges.length, LIMITS.CHECK_STATUSES.value, 'ranges');
  return ranges.map(({ from, to }, i) => {
    validator.range(`${field}[${i}].from`, from, STATUS_MIN, STATUS_MAX);
    if (to !== 0) validator.range(`${field}[${i}].to`, to, from, STATUS_MAX);
    const last = to || from;
    if (from >= STATUS_MIN && last < FINAL_STATUS_MIN && !(from <= SWITCHING_PROTOCOLS && SWITCHING_PROTOCOLS <= last))
      validator.refuse(`${field}[${i}].from`, 'must be a final status: 101, or 200 and above');
    return { from, to: last };
  });
}

function validateGrpc(validator: Validator, field: string, { service, authority }: GrpcProbe): GrpcProbe {
  if (service.length > GRPC_SERVICE_CHARS || !PRINTABLE.test(service))
    validator.refuse(`${field}.service`, `must be up to ${GRPC_SERVICE_CHARS} printable ASCII characters`);
  validateHost(validator, `${field}.authority`, authority);
  return { service, authority };
}

function validateTls(validator: Validator, field: string, { serverName, verify, minValidity }: TlsProbe): TlsProbe {
  validateHost(validator, `${field}.server_name`, serverName);
  if (serverName.includes(':') && HOST.exec(serverName)?.[2] !== undefined)
    validator.refuse(`${field}.server_name`, 'must have no port');
  const ms = minValidity && validator.duration(`${field}.min_validity`, minValidity, CHECK_MS.minValidity);
  return { serverName, verify, minValidity: ms === undefined ? undefined : toDuration(ms) };
}

function validateHost(validator: Validator, field: string, host: string): void {
  const [, , port] = HOST.exec(host) ?? [];
  if (port !== undefined && (Number(port) === 0 || Number(port) > PORT_MAX))
    validator.refuse(field, `must have a port from 1 to ${PORT_MAX}; it is ${port}`);
  if (host.length > LIMITS.ADDRESS_CHARS.value || (host !== '' && !HOST.test(host)))
    validator.refuse(field, `must be a host name or an address, of up to ${LIMITS.ADDRESS_CHARS.value} characters`);
}
