import { EVERYBODY } from '../../src/access/principal.js';
import type { Call } from '../../src/api/call/call.js';
import { Dispatcher, type DispatcherParts } from '../../src/api/call/dispatcher.js';
import type { MethodInfo } from '../../src/api/call/method-info.js';
import { SimProcess, tallyingTelemetry } from '../sim/process.js';
import type { World } from '../sim/world.js';

/** A call by nobody in particular, as an edge would make it. */
export const callOf = (method: MethodInfo, fields: Partial<Call> = {}): Call => ({
  ...{ method, principal: EVERYBODY, peerAddress: '10.0.0.1', connection: '10.0.0.1:1', transport: 'grpc' },
  ...{ authorization: undefined, isAmbiguous: false, certificate: undefined, notes: undefined },
  ...{ requestId: 'r1', deadlineMs: undefined, signal: new AbortController().signal },
  metadata: { request: {}, headers: [], trailers: [] },
  ...fields,
});

/** A dispatcher on the clock of a world, without gates and observers of its own. */
export const dispatcherIn = (world: World, parts: Partial<DispatcherParts> = {}): Dispatcher =>
  new Dispatcher({
    clock: new SimProcess(world).clock,
    random: { id: () => 'id', fraction: () => 0 },
    telemetry: tallyingTelemetry(new Map()),
    streamAgeMs: 1_200_000,
    gates: [],
    observers: [],
    ...parts,
  });
