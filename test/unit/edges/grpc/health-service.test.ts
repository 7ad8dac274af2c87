import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Encoded, whole } from '../../../../src/api/call/message.js';
import type { ServerStreamMethod } from '../../../../src/api/call/method.js';
import { sinkOf } from '../../../support/sink.js';
import { HealthService } from '../../../../src/edges/grpc/health-service.js';
import { SimProcess } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';

/** The values of ServingStatus in grpc.health.v1. */
const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];

/** Opens Health.Watch for a service, and notes what arrives. */
function watch(health: HealthService, service: string): { states: string[]; close(): void } {
  const method = health.methods(new Set()).find(({ path }) => path.endsWith('/Watch')) as ServerStreamMethod;
  const states: string[] = [];
  let close = (): void => undefined;
  const transport = {
    write: (message: Encoded) => states.push(STATUSES[whole(message)[1]!]!),
    end: () => undefined,
    onClosed: () => undefined,
    onReleased: (listener: () => void) => void (close = listener),
  };
  const sink = sinkOf(transport, (error) => error as never);
  const request = Buffer.concat([Buffer.from([0x0a, service.length]), Buffer.from(service)]);
  void method.invoke(request, undefined as never, sink);
  return { states, close: () => close() };
}

test('Health.Watch sends each change, repeats the status every 15 s, and nothing after the end', async () => {
  const world = new World();
  const health = new HealthService(new SimProcess(world).clock);
  const known = watch(health, '');
  const unknown = watch(health, 'no.such.Service');
  assert.deepEqual([known.states, unknown.states], [['NOT_SERVING'], ['SERVICE_UNKNOWN']]);
  health.set('SERVING');
  health.set('SERVING');
  assert.deepEqual(known.states, ['NOT_SERVING', 'SERVING'], 'a change once');
  await world.run(15_001);
  assert.deepEqual(known.states, ['NOT_SERVING', 'SERVING', 'SERVING']);
  assert.deepEqual(unknown.states, ['SERVICE_UNKNOWN', 'SERVICE_UNKNOWN']);
  known.close();
  health.set('NOT_SERVING');
  await world.run(60_000);
  assert.equal(known.states.length, 3);
  assert.equal(unknown.states.length, 5);
});
