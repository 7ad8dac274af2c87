import type { CallMetadata } from '../../api/call/call.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import { EdgeCall, type EdgeCallParts } from './edge-call.js';

/** A call whose headers this program reads by itself. */
export abstract class HeaderCall extends EdgeCall {
  constructor(
    method: MethodInfo,
    protected readonly received: CallMetadata['request'],
    readonly deadlineMs: number | undefined,
    parts: EdgeCallParts,
  ) {
    super(method, parts);
  }

  protected header(name: string): string | undefined {
    const value = this.received[name];
    return typeof value === 'string' ? value : undefined;
  }
}
