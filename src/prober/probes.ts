import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  type GrpcProbe,
  type HealthCheck,
  HttpMethod,
  type HttpProbe,
  type StatusRange,
} from '../gen/rollcall/v1/check.js';
import { HOUR_MS, fromDuration } from '../model/time.js';
import { degraded, endOf, fail, PASS, type ProbeEnd } from './outcomes.js';

/** The head of an answer, and the part of a body that is read. */
const HEAD_BYTES_MAX = 16 * 1_024;
const BODY_BYTES_MAX = 4 * 1_024;

/** How long the target has to close a connection once its answer is known. */
const LINGER_MS = 500;

/** A place to connect to: an IP address that may be probed. */
export interface Place {
  readonly ip: string;
  readonly port: number;
  /** The address as registered: an IP address or a name. */
  readonly address: string;
}

/** The settings of all probes. */
export interface ProbeSettings {
  /** The value of the User-Agent header. */
  readonly agent: string;
  /** The certificates that checks trust. Made once: it costs a sixth of a handshake. */
  readonly secureContext: tls.SecureContext;
}

/** Ends a probe: whatever it opened is closed. */
type Abort = () => void;

/** Begins a probe. `done` is called once, unless the probe is aborted before. Nothing is shared between two probes. */
export function beginProbe(
  place: Place,
  check: HealthCheck,
  settings: ProbeSettings,
  done: (end: ProbeEnd) => void,
): Abort {
  let isOver = false;
  const once = (end: ProbeEnd): void => {
    if (isOver) return;
    isOver = true;
    done(end);
  };
  const begin = { http: httpProbe, tcp: tcpProbe, grpc: grpcProbe }[check.probe?.$case ?? 'tcp'];
  try {
    const close = begin(place, check, settings, once);
    return () => {
      isOver = true;
      close();
    };
  } catch (error) {
    setImmediate(() => once(endOf(error)));
    return () => (isOver = true);
  }
}

function tcpProbe(place: Place, check: HealthCheck, settings: ProbeSettings, done: (end: ProbeEnd) => void): Abort {
  const socket = connect(place, check, settings, []);
  const close = (): void => {
    socket.on('error', ignore);
    socket.destroy();
  };
  const end = (one: ProbeEnd): void => {
    done(one);
    // A reset would be an error at the target, and a program that does not expect one dies of it.
    socket.on('error', ignore);
    socket.resume().end();
    setTimeout(close, LINGER_MS);
  };
  socket.once(check.tls ? 'secureConnect' : 'connect', () => end(check.tls ? validity(socket, check) : PASS));
  socket.once('error', (error) => end(endOf(error)));
  socket.once('close', () => end(fail('CLOSED')));
  return close;
}

function httpProbe(place: Place, check: HealthCheck, settings: ProbeSettings, done: (end: ProbeEnd) => void): Abort {
  const probe = (check.probe as { value: HttpProbe }).value;
  const method = probe.method === HttpMethod.HTTP_METHOD_HEAD ? 'HEAD' : 'GET';
  const host = probe.host || authorityOf(place);
  const request = (check.tls ? https : http).request({
    ...{ host: place.ip, port: place.port, path: probe.path, method, agent: false, setHost: false },
    ...{ maxHeaderSize: HEAD_BYTES_MAX, insecureHTTPParser: false },
    headers: {
      host,
      'user-agent': settings.agent,
      accept: '*/*',
      ...Object.fromEntries(probe.headers),
      connection: 'close',
    },
    ...(check.tls && tlsOptions(place, check, settings, [])),
  });
  const close = (): void => {
    request.on('error', ignore);
    request.destroy();
  };
  const end = (one: ProbeEnd): void => {
    done(one);
    close();
  };
  request.once('response', (response) => {
    const judged = judgeStatus(response.statusCode ?? 0, probe);
    const one = judged === PASS && check.tls ? validity(response.socket, check) : judged;
    // The head decides. A little of the body is read, so that a server which closes properly is not cut off.
    let bytes = 0;
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) end(one);
    });
    response.once('error', () => end(one));
    response.once('close', () => end(one));
    done(one);
    // The verdict is in. A body that never ends must not keep the connection.
    setTimeout(close, LINGER_MS);
  });
  request.once('upgrade', () => end(fail('status 101')));
  request.once('error', (error) => end(endOf(error)));
  request.once('close', () => end(fail('CLOSED')));
  request.end();
  return close;
}

function judgeStatus(status: number, { healthyStatuses, degradedStatuses }: HttpProbe): ProbeEnd {
  const isIn = (ranges: readonly StatusRange[]): boolean =>
    ranges.some(({ from, to }) => status >= from && status <= (to || from));
  if (isIn(healthyStatuses)) return PASS;
  return isIn(degradedStatuses) ? degraded(`status ${status}`) : fail(`status ${status}`);
}

/** The path of the call, and the limits of its answer. */
const HEALTH_PATH = '/grpc.health.v1.Health/Check';
const GRPC_UNIMPLEMENTED = 12;
const GRPC_NOT_FOUND = 5;
const GRPC_STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const SERVING = 1;
const FRAME_HEAD_BYTES = 5;

function grpcProbe(place: Place, check: HealthCheck, settings: ProbeSettings, done: (end: ProbeEnd) => void): Abort {
  const { service, authority } = (check.probe as { value: GrpcProbe }).value;
  const socket = connect(place, check, settings, ['h2']);
  const session = http2.connect(`http://${authorityOf(place)}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxSessionMemory: 1,
  });
  const close = (): void => {
    session.on('error', ignore);
    socket.on('error', ignore);
    session.destroy();
    socket.destroy();
  };
  const end = (one: ProbeEnd): void => {
    done(one);
    close();
  };
  session.once('error', (error) => end(endOf(error)));
  socket.once('error', (error) => end(endOf(error)));
  session.once('close', () => end(fail('CLOSED')));
  const stream = session.request({
    ':method': 'POST',
    ':path': HEALTH_PATH,
    ':authority': authority || authorityOf(place),
    ':scheme': check.tls ? 'https' : 'http',
    'content-type': 'application/grpc',
    te: 'trailers',
    'user-agent': settings.agent,
  });
  let status: number | undefined;
  let body = Buffer.alloc(0);
  const take = (headers: http2.IncomingHttpHeaders): void => {
    const given = headers['grpc-status'];
    if (typeof given === 'string' && /^\d{1,2}$/.test(given)) status = Number(given);
  };
  stream.on('response', (headers) => {
    if (headers[':status'] !== 200) return end(fail(`status ${headers[':status']}`));
    take(headers);
  });
  stream.on('trailers', take);
  stream.on('data', (chunk: Buffer) => {
    body = Buffer.concat([body, chunk]);
    if (body.length > BODY_BYTES_MAX) end(fail('ANSWER_TOO_LARGE'));
  });
  stream.once('error', (error) => end(endOf(error)));
  stream.once('end', () => {
    const one = judgeHealth(status, body);
    end(one === PASS && check.tls ? validity(socket, check) : one);
  });
  stream.end(frame(service));
  return close;
}

/** A HealthCheckRequest in its frame. */
function frame(service: string): Buffer {
  const writer = new BinaryWriter();
  const message = service === '' ? new Uint8Array() : writer.uint32(10).string(service).finish();
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function judgeHealth(status: number | undefined, body: Buffer): ProbeEnd {
  if (status === GRPC_UNIMPLEMENTED) return fail('UNIMPLEMENTED: the server has no grpc.health.v1.Health');
  if (status === GRPC_NOT_FOUND) return fail('NOT_FOUND: the server does not know that service');
  if (status !== 0) return fail(status === undefined ? 'PROTOCOL_ERROR' : `grpc-status ${status}`);
  try {
    const serving = servingStatus(body);
    return serving === SERVING ? PASS : fail(GRPC_STATUSES[serving] ?? 'UNKNOWN');
  } catch {
    return fail('PROTOCOL_ERROR');
  }
}

/** The status in a HealthCheckResponse. */
function servingStatus(body: Buffer): number {
  if (body.length < FRAME_HEAD_BYTES || body[0] !== 0) throw new Error('not a plain frame');
  const reader = new BinaryReader(body.subarray(FRAME_HEAD_BYTES));
  let serving = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1) serving = reader.int32();
    else reader.skip(type);
  }
  return serving;
}

function connect(place: Place, check: HealthCheck, settings: ProbeSettings, protocols: string[]): net.Socket {
  const { ip: host, port } = place;
  if (!check.tls) return net.connect({ host, port });
  return tls.connect({ host, port, ...tlsOptions(place, check, settings, protocols) });
}

function tlsOptions(
  place: Place,
  check: HealthCheck,
  { secureContext }: ProbeSettings,
  protocols: string[],
): tls.ConnectionOptions {
  const { verify = false } = check.tls ?? {};
  const name = serverName(place, check);
  return {
    rejectUnauthorized: verify,
    ...(net.isIP(name) === 0 && { servername: name }),
    secureContext,
    ...(protocols.length > 0 && { ALPNProtocols: protocols }),
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
  };
}

function serverName({ address }: Place, { tls: options, probe }: HealthCheck): string {
  if (options?.serverName) return options.serverName;
  const host = probe?.$case === 'http' ? probe.value.host.replace(/:\d+$/, '') : '';
  return host || address;
}

/** Until when the certificate of a connection is valid, and whether that is for long enough. */
function validity(socket: net.Socket, { tls: options }: HealthCheck): ProbeEnd {
  const certificateEndsMs = socket instanceof tls.TLSSocket ? Date.parse(socket.getPeerCertificate().valid_to) : NaN;
  if (Number.isNaN(certificateEndsMs)) return PASS; // an answer from a resumed session shows no certificate
  const leftMs = certificateEndsMs - Date.now();
  const isLong = !options?.minValidity || leftMs >= fromDuration(options.minValidity);
  const end = isLong ? PASS : degraded(`the certificate is valid for ${Math.max(0, Math.floor(leftMs / HOUR_MS))} h`);
  return { ...end, certificateEndsMs };
}

const authorityOf = ({ address, port }: Place): string =>
  `${net.isIP(address) === 6 ? `[${address}]` : address}:${port}`;

function ignore(): void {
  // the probe is over
}
