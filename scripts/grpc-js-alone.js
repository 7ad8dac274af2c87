// Loaded into a server before its code: keeps the gRPC edge from taking unary calls from grpc-js. A second listener makes the
// HTTP/2 server of grpc-js look otherwise than the edge expects.
import http2 from 'node:http2';

for (const name of ['createServer', 'createSecureServer']) {
  const create = http2[name];
  http2[name] = (...given) => create(...given).on('stream', () => undefined);
}
