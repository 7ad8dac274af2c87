import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer, type PackageDefinition } from '@grpc/proto-loader';
import { IMAGE } from '../wire/image.js';

/** The files of the image, each with its own bytes: what reflection serves. */
export function imageFiles(): { readonly file: FileDescriptorProto; readonly bytes: Buffer }[] {
  return fromBinary(FileDescriptorSetSchema, IMAGE).file.map((file) => ({
    file,
    bytes: Buffer.from(toBinary(FileDescriptorProtoSchema, file)),
  }));
}

const LOADER_OPTIONS = { longs: String, enums: String, defaults: true, oneofs: true };
/** The definitions in the image, as proto-loader makes them: made once, and only by a process that serves. */
let loaded: PackageDefinition | undefined;

/** The definition of a third-party service, such as "grpc.health.v1.Health". */
export function thirdPartyService(name: string): ServiceDefinition {
  loaded ??= loadFileDescriptorSetFromBuffer(Buffer.from(IMAGE), LOADER_OPTIONS);
  const definition = loaded[name];
  if (!definition || 'format' in definition) throw new Error(`the image has no service ${name}`);
  return definition;
}
