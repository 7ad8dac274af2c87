import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Method } from '../../api/call/method.js';
import { RollcallError } from '../../model/errors.js';
import type { Framing, Framings } from './framings.js';
import type { Json } from './json.js';
import { putContent, rawContent } from './raw-config.js';

/** A path for people, and the call that it stands for. */
interface ShortPath {
  readonly pattern: RegExp;
  readonly method: string;
  /** The fields that the path gives. */
  readonly given: (name: string) => JsonObject;
  /** Parameters that have a longer name as fields of the request. */
  readonly renamed?: Readonly<Record<string, string>>;
  /** True if the answer is the bare content of a config, which a PUT publishes and a DELETE deletes. */
  readonly raw?: true;
}

const REGISTRY = '/rollcall.v1.RegistryService';
const CONFIG = '/rollcall.v1.ConfigService';
const nothing = (): JsonObject => ({});

/** The short paths. The first that fits counts. A watch of configs has a path of its own: a key may end in "/watch". */
const SHORT_PATHS: readonly ShortPath[] = [
  { pattern: /^\/v1\/namespaces$/, method: `${REGISTRY}/ListNamespaces`, given: nothing },
  { pattern: /^\/v1\/services$/, method: `${REGISTRY}/ListServices`, given: nothing },
  { pattern: /^\/v1\/services\/([^/]+)$/, method: `${REGISTRY}/Discover`, given: (service) => ({ service }) },
  {
    pattern: /^\/v1\/(?:watch\/services\/([^/]+)|services\/([^/]+)\/watch)$/,
    method: `${REGISTRY}/WatchServices`,
    given: (service) => ({ services: [service] }),
  },
  { pattern: /^\/v1\/configs$/, method: `${CONFIG}/ListConfigs`, given: nothing },
  { pattern: /^\/v1\/configs\/(.+)$/, method: `${CONFIG}/GetConfig`, given: (key) => ({ key }), raw: true },
  {
    pattern: /^\/v1\/watch\/configs\/(.+)$/,
    method: `${CONFIG}/WatchConfig`,
    given: (key) => ({ filters: [{ keys: [key] }] }),
    renamed: { group: 'filters.group' },
  },
  { pattern: /^\/v1\/status$/, method: '/rollcall.v1.AdminService/GetStatus', given: nothing },
];

/** The calls that change the config of a path, by the method of HTTP. */
const WRITES: Readonly<Record<string, string>> = { PUT: `${CONFIG}/PublishConfig`, DELETE: `${CONFIG}/DeleteConfig` };

/** The methods of HTTP that read. A watch has no end, so it has no headers of the whole answer either. */
export const readVerbs = ({ kind }: Method): readonly string[] => (kind === 'UNARY' ? ['GET', 'HEAD'] : ['GET']);

/** The call that a request on a short path stands for. */
export interface ShortCall {
  readonly method: Method;
  readonly framing: Framing;
}

/** Finds the call that a short path stands for. */
export class ShortPaths {
  constructor(
    private readonly methods: ReadonlyMap<string, Method>,
    private readonly framings: Framings,
    private readonly json: Json,
  ) {}

  /** The methods of HTTP that a path takes; none if it is not a short path. */
  allowed(path: string): readonly string[] {
    const row = SHORT_PATHS.find(({ pattern }) => pattern.test(path));
    if (!row) return [];
    if (row.raw) return ['GET', 'HEAD', 'PUT', 'DELETE'];
    return readVerbs(this.methods.get(row.method)!);
  }

  /** The call of a request whose path and method of HTTP are allowed. Throws INVALID_REQUEST. */
  find(request: IncomingMessage, path: string, query: URLSearchParams): ShortCall {
    const row = SHORT_PATHS.find(({ pattern }) => pattern.test(path))!;
    const [, first, second] = row.pattern.exec(path)!;
    const name = percentDecoded(first ?? second ?? '');
    const params = new URLSearchParams(
      [...query].map(([key, value]): [string, string] => [row.renamed?.[key] ?? key, value]),
    );
    const method = this.methods.get((row.raw && WRITES[request.method!]) ?? row.method)!;
    const framing = this.framings.ofShortPath(request, params, method, row.given(name));
    const { unary } = framing;
    if (!row.raw || !unary || request.method === 'DELETE') return { method, framing };
    const isPut = request.method === 'PUT';
    return { method, framing: { unary: isPut ? putContent(name, params, this.json, unary) : rawContent(unary) } };
  }
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RollcallError('INVALID_REQUEST', 'the path has a "%" that begins no percent-encoded UTF-8');
  }
}
