import type { Replica } from '../../domain/replica.js';
import type { MethodDescription } from '../call/method.js';
import { decodeRequest, encodeMessage } from '../call/wire.js';
import type { LocalParts } from './local-parts.js';

/** The part of one server in an answer. */
export interface ServerPart<Response> {
  readonly node: string;
  readonly part: Response;
}

/** The parts of all servers. */
export interface EveryPart<Response> {
  /** The own part first. */
  readonly parts: readonly ServerPart<Response>[];
  /** The nodes of the servers that did not answer in time, and of those that are no members and did not leave cleanly. */
  readonly unanswered: readonly string[];
}

/** A type of message that can be sent and read. */
type Coded<T> = Parameters<typeof decodeRequest<T>>[0] & Parameters<typeof encodeMessage<T>>[0];

/** The parts that a fan-out needs. */
export interface EveryServerParts<Request, Response> {
  readonly service: { readonly fullName: string };
  readonly method: Pick<MethodDescription<Request, Response>, 'name'> & {
    readonly requestType: Coded<Request>;
    readonly responseType: Coded<Response>;
  };
  /** Answers the part of this server. */
  readonly local: (request: Request) => Response;
}

/**
 * A question that every server of the cluster answers for itself. The server that a caller asks has judged whether the caller may
 * ask; the others answer it as one of them.
 */
export class EveryServer<Request, Response> {
  readonly #path: string;

  constructor(
    private readonly replica: Pick<Replica, 'membership' | 'lostMembers' | 'node'>,
    localParts: LocalParts,
    private readonly parts: EveryServerParts<Request, Response>,
  ) {
    const { service, method, local } = parts;
    this.#path = `/${service.fullName}/${method.name}`;
    localParts.add(this.#path, (bytes) =>
      encodeMessage(method.responseType, local(decodeRequest(method.requestType, bytes))),
    );
  }

  /** Asks all servers. Each has 1 s to answer. */
  async ask(request: Request): Promise<EveryPart<Response>> {
    const { method, local } = this.parts;
    const { membership, lostMembers, node } = this.replica;
    const asked = membership?.answerParts(this.#path, encodeMessage(method.requestType, request));
    const own = { node, part: local(request) };
    const others = (await asked) ?? [];
    const named = new Set(others.map(({ node: of }) => of));
    return {
      parts: [
        own,
        ...others.flatMap(({ node: of, part }) =>
          part ? [{ node: of, part: decodeRequest(method.responseType, part) }] : [],
        ),
      ],
      unanswered: [
        ...others.filter(({ part }) => !part).map(({ node: of }) => of),
        ...(lostMembers?.absent ?? []).filter((of) => of !== node && !named.has(of)),
      ],
    };
  }
}
