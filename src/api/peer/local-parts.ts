import { RollcallError } from '../../model/errors.js';

/** Answers the local part of one method: a request and a response, encoded. */
type LocalPart = (request: Uint8Array) => Uint8Array;

/** The methods of operators whose answer has a part of every server. Each adds its own part here. */
export class LocalParts {
  readonly #parts = new Map<string, LocalPart>();

  add(method: string, part: LocalPart): void {
    this.#parts.set(method, part);
  }

  /** Throws UNKNOWN_METHOD: another server may be of a newer version. */
  answer(method: string, request: Uint8Array): Uint8Array {
    const part = this.#parts.get(method);
    if (!part) throw new RollcallError('UNKNOWN_METHOD', 'this server has no part of that method');
    return part(request);
  }
}
