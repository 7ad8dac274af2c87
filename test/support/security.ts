import { type ChannelCredentials, credentials, Metadata } from '@grpc/grpc-js';
import { accessFile, callerWith } from './access.js';
import { authority, type Certificate } from './certificates.js';
import type { EtcdTls } from './etcd.js';

/** Mutual TLS between servers and towards etcd, and tokens for clients. */
export interface Security {
  readonly etcd: EtcdTls;
  /** The arguments of each server. */
  readonly args: readonly string[];
  /** The credentials of a test, which may do everything. */
  readonly operator: ChannelCredentials;
  /** The credentials of services, which may register and read. */
  readonly service: ChannelCredentials;
}

/** Makes the certificates and the access file of a cluster. */
export async function makeSecurity(): Promise<Security> {
  const ca = await authority('cluster');
  const [own, server, toEtcd] = await Promise.all(['etcd', 'server', 'to-etcd'].map((name) => ca.issue(name)));
  const operator = callerWith('operator', '{ role: admin, namespaces: ["*"] }');
  const service = callerWith('services', '{ role: service, namespaces: ["*"], services: ["*"] }');
  return {
    etcd: { ca, own: own! },
    args: [
      ...['--tls-cert', server!.certFile, '--tls-key', server!.keyFile],
      ...['--tls-client-certs', 'optional', '--tls-client-ca', ca.certFile],
      ...['--etcd-ca', ca.certFile, '--etcd-cert', toEtcd!.certFile, '--etcd-key', toEtcd!.keyFile],
      ...['--access', accessFile([operator, service])],
    ],
    operator: withToken(ca, operator.token),
    service: withToken(ca, service.token),
  };
}

/** Credentials that verify servers by an authority, and show a token. */
export function withToken(ca: Certificate, token: string): ChannelCredentials {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const calls = credentials.createFromMetadataGenerator((_, done) => done(null, metadata));
  return credentials.combineChannelCredentials(credentials.createSsl(Buffer.from(ca.cert)), calls);
}
