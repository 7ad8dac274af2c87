import type { TestContext } from 'node:test';
import {
  type ClientDuplexStream,
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/** An answer of the reflection service, as a stock client reads it. */
export interface ReflectionAnswer {
  readonly listServicesResponse?: { readonly service: { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: Uint8Array[] };
  readonly errorResponse?: { readonly errorCode: number };
}

/** Asks the reflection service of an address, by the protos that @grpc/reflection ships. */
export function reflectionClient(
  t: TestContext,
  address: string,
  version: 'v1' | 'v1alpha',
): (request: object) => Promise<ReflectionAnswer> {
  const folder = new URL('../../node_modules/@grpc/reflection/build/proto/', import.meta.url).pathname;
  const file = `${folder}grpc/reflection/${version}/reflection.proto`;
  const loaded = loadPackageDefinition(loadSync(file, { includeDirs: [folder] }));
  const { ServerReflection } = ((loaded.grpc as GrpcObject).reflection as GrpcObject)[version] as GrpcObject;
  const client = new (ServerReflection as ServiceClientConstructor)(address, credentials.createInsecure());
  t.after(() => client.close());
  return (request) =>
    new Promise((resolve, reject) => {
      const stream = (client.serverReflectionInfo as () => ClientDuplexStream<object, ReflectionAnswer>)();
      stream.on('data', resolve);
      stream.on('error', reject);
      stream.write(request);
      stream.end();
    });
}
