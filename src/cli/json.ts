import { readFileSync } from 'node:fs';
import { createFileRegistry, fromBinary, type JsonObject, toJson } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { AdminServiceDefinition } from '../gen/rollcall/v1/admin_service.js';
import { ConfigServiceDefinition } from '../gen/rollcall/v1/config_service.js';
import { RegistryServiceDefinition } from '../gen/rollcall/v1/registry_service.js';

const SERVICES = {
  registry: RegistryServiceDefinition,
  config: ConfigServiceDefinition,
  admin: AdminServiceDefinition,
};

/** A call whose answers a command shows, such as "registry.discover". */
export type CallName = {
  [Service in keyof typeof SERVICES]: `${Service}.${Extract<keyof (typeof SERVICES)[Service]['methods'], string>}`;
}[keyof typeof SERVICES];

const IMAGE = new URL('../gen/image.binpb', import.meta.url);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(IMAGE)));

/** The answer to a call as the canonical JSON of protobuf. */
export function jsonOf(call: CallName, answer: unknown): JsonObject {
  const [service, key] = call.split('.') as [keyof typeof SERVICES, string];
  const { fullName, methods } = SERVICES[service];
  const method = (methods as Readonly<Record<string, Described>>)[key]!;
  const type = registry.getService(fullName)!.methods.find(({ name }) => name === method.name)!.output;
  return toJson(type, fromBinary(type, method.responseType.encode(answer).finish()), { registry }) as JsonObject;
}

/** A method as the generated code describes it: the part that this file needs. */
interface Described {
  readonly name: string;
  readonly responseType: { encode(message: unknown): { finish(): Uint8Array } };
}
