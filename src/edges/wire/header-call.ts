import type { CallMetadata } from '../../api/call/call.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Random } from '../../base/random.js';
import { EdgeCall } from './edge-call.js';

/** A call whose headers this program reads by itself. */
export abstract class HeaderCall extends EdgeCall {
  constructor(
    method: MethodInfo,
    protected readonly received: CallMetadata['request'],
    readonly deadlineMs: number | undefined,
    random: Random,
  ) {
    super(method, random);
  }

  protected header(name: string): string | undefined {
    const value = this.received[name];
    return typeof value === 'string' ? value : undefined;
  }
}
