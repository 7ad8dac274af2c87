import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { certificateOf } from '../../../src/edges/wire/client-certificate.js';
import { authority, type Certificate } from '../../support/certificates.js';

test('A2: the certificate of a connection is the one that the client showed, with the reason if it cannot be verified', async (t) => {
  const ca = await authority('clients');
  const server = await ca.issue('server');
  const accepted: TLSSocket[] = [];
  const listener = createServer(
    { ca: ca.cert, cert: server.cert, key: server.key, requestCert: true, rejectUnauthorized: false },
    (socket) => accepted.push(socket),
  );
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  const faultOf = async (own?: Certificate): Promise<string | undefined> => {
    const client = connect({ port, host: '127.0.0.1', ca: ca.cert, ...(own && { cert: own.cert, key: own.key }) });
    t.after(() => client.destroy());
    await once(listener, 'secureConnection');
    const socket = accepted.at(-1)!;
    const certificate = certificateOf(socket);
    return certificate ? (certificate.fault ?? 'verified') : undefined;
  };
  assert.equal(await faultOf(), undefined);
  assert.equal(await faultOf(await ca.issue('client')), 'verified');
  assert.equal(await faultOf(await ca.issue('old', { validMs: -1 })), 'CERT_HAS_EXPIRED');
  assert.match((await faultOf(await (await authority('other')).issue('foreign')))!, /^[A-Z_]+$/);
});
