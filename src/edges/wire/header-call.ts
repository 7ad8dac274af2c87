import type { CallMetadata } from '../../api/call/call.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Random } from '../../base/random.js';
import { EdgeCall } from './edge-call.js';

/** A call whose headers this program reads by itself. */
export abstract class HeaderCall extends EdgeCall {
  #metadata: CallMetadata | undefined;

  constructor(
    method: MethodInfo,
    private readonly headers: CallMetadata['request'],
    readonly deadlineMs: number | undefined,
    random: Random,
  ) {
    super(method, random);
  }

  get metadata(): CallMetadata {
    this.#metadata ??= { request: this.headers, headers: [], trailers: [] };
    return this.#metadata;
  }

  /** The metadata that a handler has set; `undefined` if it set none. */
  get given(): CallMetadata | undefined {
    return this.#metadata;
  }

  protected header(name: string): string | undefined {
    const value = this.headers[name];
    return typeof value === 'string' ? value : undefined;
  }
}
