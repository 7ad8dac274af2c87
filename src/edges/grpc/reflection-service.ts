import type { DescriptorProto, EnumDescriptorProto, FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import type { Method } from '../../api/call/method.js';
import { Code } from '../../model/errors.js';
import { imageFiles } from './image.js';
import { loadedService } from './loaded-service.js';

/** The fields have their names from the proto, because the loader keeps those names for a compiled image. */
interface ReflectionRequest {
  host: string;
  message_request?:
    | 'file_by_filename'
    | 'file_containing_symbol'
    | 'file_containing_extension'
    | 'all_extension_numbers_of_type'
    | 'list_services';
  file_by_filename?: string;
  file_containing_symbol?: string;
  file_containing_extension?: { containing_type: string; extension_number: number };
  all_extension_numbers_of_type?: string;
  list_services?: string;
}

interface IndexedFile {
  readonly name: string;
  readonly bytes: Buffer;
  readonly dependencies: readonly string[];
}

/** The packages that no client calls or reads: questions between servers, and records of the store. */
const PRIVATE = /^rollcall\.(peer|storage)\./;

/** Maps names of files and symbols to the compiled files. */
class DescriptorIndex {
  readonly #files = new Map<string, IndexedFile>();
  readonly #symbols = new Map<string, IndexedFile>();
  readonly services: readonly string[];

  constructor() {
    const services: string[] = [];
    for (const { file, bytes } of imageFiles()) {
      if (PRIVATE.test(file.package)) continue;
      const indexed = { name: file.name, bytes, dependencies: file.dependency };
      this.#files.set(file.name, indexed);
      for (const symbol of symbolsOf(file)) this.#symbols.set(symbol, indexed);
      services.push(...file.service.map(({ name }) => `${file.package}.${name}`));
    }
    this.services = services.sort();
  }

  byName(name: string): Buffer[] | undefined {
    return this.#withDependencies(this.#files.get(name));
  }

  bySymbol(symbol: string): Buffer[] | undefined {
    return this.#withDependencies(this.#symbols.get(symbol));
  }

  /** A file and everything that it needs, itself first. */
  #withDependencies(file: IndexedFile | undefined): Buffer[] | undefined {
    if (!file) return undefined;
    const found = new Map<string, IndexedFile>();
    const add = (one: IndexedFile | undefined): void => {
      if (!one || found.has(one.name)) return;
      found.set(one.name, one);
      for (const dependency of one.dependencies) add(this.#files.get(dependency));
    };
    add(file);
    return [...found.values()].map(({ bytes }) => bytes);
  }
}

/** Every symbol that a file defines, by its full name: what protoc gives a name of its own. */
function symbolsOf(file: FileDescriptorProto): string[] {
  const within = (scope: string, name: string): string => (scope === '' ? name : `${scope}.${name}`);
  // The values of an enum are siblings of the enum, as in C++.
  const inEnum = (scope: string, { name, value }: EnumDescriptorProto): string[] =>
    [name, ...value.map((one) => one.name)].map((one) => within(scope, one));
  const inMessage = (scope: string, message: DescriptorProto): string[] => {
    const full = within(scope, message.name);
    const { nestedType, enumType, field, oneofDecl, extension } = message;
    return [
      full,
      ...nestedType.flatMap((nested) => inMessage(full, nested)),
      ...enumType.flatMap((nested) => inEnum(full, nested)),
      ...[...field, ...oneofDecl, ...extension].map(({ name }) => within(full, name)),
    ];
  };
  return [
    ...file.messageType.flatMap((message) => inMessage(file.package, message)),
    ...file.enumType.flatMap((one) => inEnum(file.package, one)),
    ...file.extension.map(({ name }) => within(file.package, name)),
    ...file.service.flatMap(({ name, method }) => {
      const full = within(file.package, name);
      return [full, ...method.map((one) => within(full, one.name))];
    }),
  ];
}

/** gRPC server reflection, v1 and v1alpha, which differ only in name. It serves the files as they were compiled. */
export function reflectionMethods(): Method[] {
  const index = new DescriptorIndex();
  const answer = (request: ReflectionRequest): object => ({
    valid_host: request.host,
    original_request: request,
    ...resultOf(index, request),
  });
  return (['grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'] as const).map((name) =>
    loadedService(name)('serverReflectionInfo').bidiStream(answer),
  );
}

function resultOf(index: DescriptorIndex, request: ReflectionRequest): object {
  switch (request.message_request) {
    case 'list_services':
      return { list_services_response: { service: index.services.map((name) => ({ name })) } };
    case 'file_by_filename':
      return filesOrNotFound(index.byName(request.file_by_filename!), request.file_by_filename!);
    case 'file_containing_symbol':
      return filesOrNotFound(index.bySymbol(request.file_containing_symbol!), request.file_containing_symbol!);
    case 'file_containing_extension':
      return notFound(request.file_containing_extension!.containing_type);
    case 'all_extension_numbers_of_type': {
      const type = request.all_extension_numbers_of_type!;
      if (!index.bySymbol(type)) return notFound(type);
      return { all_extension_numbers_response: { base_type_name: type, extension_number: [] } };
    }
    default:
      return { error_response: { error_code: Code.INVALID_ARGUMENT, error_message: 'message_request is required' } };
  }
}

function filesOrNotFound(found: Buffer[] | undefined, what: string): object {
  return found ? { file_descriptor_response: { file_descriptor_proto: found } } : notFound(what);
}

function notFound(what: string): object {
  return { error_response: { error_code: Code.NOT_FOUND, error_message: `${what} is not known here` } };
}
