import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import type { ServiceError } from '@grpc/grpc-js';
import { Code } from '../../src/model/errors.js';
import { StreamHeartbeatsRequest, type StreamHeartbeatsResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import type { WatchServicesResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import { ResetReason, WatchKind } from '../../src/gen/rollcall/v1/watch.js';
import type { WatchConfigResponse } from '../../src/gen/rollcall/v1/config_service.js';
import {
  deleteConfig,
  discover,
  getConfig,
  publishConfig,
  register,
  ServicesView,
  text,
  type Watch,
  watchConfig,
  watchServices,
} from '../support/client.js';
import { detailsOf, eventually, failure, type ServerProcess, startWith, temporaryFolder } from '../support/server.js';
import { IDLE_S, startEnvoy, startNginx, type StartProxy } from './real-proxies.js';

const PROXIES: readonly (readonly [string, StartProxy])[] = [
  ['nginx', startNginx],
  ['Envoy', startEnvoy],
];
/** The ends of a stream after which a client must not call again with its token. */
const FINAL = [Code.INVALID_ARGUMENT, 7, 12, 16] as readonly number[];

const AGE_S = 10;
/** The age is drawn up to a quarter longer. */
const AGED_MS = AGE_S * 1_250 + 2_000;

const instance = (id: string, more: object = {}): object => ({
  ...{ service: 'pay', id, address: '10.0.0.7', port: 8080, ttl: { seconds: 600n } },
  ...more,
});

/** A server, and the same server as it is seen through a proxy. */
async function behind(
  t: TestContext,
  start: StartProxy,
  args: readonly string[] = [],
): Promise<{ server: ServerProcess; far: ServerProcess }> {
  const server = await startWith(t, ['--data-dir', temporaryFolder(), ...args], []);
  const proxy = await start(t, server);
  return { server, far: { ...server, ...proxy } };
}

/** Takes every message of a watch into a view. */
function applyAll(view: ServicesView, watch: Watch<WatchServicesResponse>): void {
  for (const message of watch.messages) view.apply(message);
}

/** Most of the time the tests wait for proxies. */
describe('proxies', { concurrency: 10 }, () => {
  for (const [name, start] of PROXIES) {
    test(`${name}: calls and errors arrive as they are`, async (t) => {
      const { server, far } = await behind(t, start);
      await register(far, { instance: instance('p1') });
      assert.equal((await discover(far, { service: 'pay' })).instances.length, 1);
      const invalid = await failure(register(far, { instance: instance('p2', { port: 70_000 }) }));
      assert.equal(invalid.code, Code.INVALID_ARGUMENT);
      assert.deepEqual(detailsOf(invalid).fields, ['instance.port']);
      assert.equal(detailsOf(await failure(getConfig(far, { key: 'none' }))).reason, 'CONFIG_NOT_FOUND');
      await publishConfig(far, { configs: [{ key: 'large', content: text('x'.repeat(500_000)) }] });
      assert.equal((await getConfig(far, { key: 'large' })).config?.size, 500_000);
      const watch = watchServices(far, { services: ['pay'] });
      await eventually(() => watch.messages.length > 0);
      void server.stop();
      const goodbye = await watch.failed();
      assert.deepEqual([goodbye.code, detailsOf(goodbye).reason], [Code.UNAVAILABLE, 'SHUTTING_DOWN']);
    });

    test(`${name}: streams end with STREAM_AGE, and go on at their token`, async (t) => {
      const { server, far } = await behind(t, start, ['--stream-age-seconds', `${AGE_S}`]);
      await register(far, { instance: instance('p1') });
      const watch = watchServices(far, { services: ['pay'] });
      const beats = far.registry.streamHeartbeats();
      const answers: StreamHeartbeatsResponse[] = [];
      let beatsEnded: ServiceError | undefined;
      beats.on('data', (answer: StreamHeartbeatsResponse) => answers.push(answer));
      beats.on('error', (error: ServiceError) => (beatsEnded = error));
      const send = (): boolean =>
        beats.write(StreamHeartbeatsRequest.fromPartial({ instances: [{ service: 'pay', id: 'p1' }] }));
      send();
      await eventually(() => answers.length === 1);
      const error = await watch.failed(AGED_MS);
      assert.deepEqual([error.code, detailsOf(error).reason, detailsOf(error).retry], [14, 'STREAM_AGE', true]);
      const ended = await eventually(() => beatsEnded, AGED_MS);
      assert.deepEqual([ended.code, detailsOf(ended).reason], [14, 'STREAM_AGE']);
      await register(server, { instance: instance('p2') });
      const again = watchServices(far, { services: ['pay'], resumeToken: watch.token });
      const change = await again.seen(({ kind }) => kind === WatchKind.WATCH_KIND_CHANGE);
      assert.deepEqual(
        change.upserted.map(({ id }) => id),
        ['p2'],
      );
      again.close();
    });

    test(
      `${name}: a quiet watch outlives the time after which the proxy ends idle streams`,
      { concurrency: true },
      async (t) => {
        const { server, far } = await behind(t, start);
        const { revision } = await register(server, { instance: instance('p1') });
        const watch = watchServices(far, { services: ['pay'] });
        await watch.reached(revision);
        const bookmarks = (): number =>
          watch.messages.filter(({ kind }) => kind === WatchKind.WATCH_KIND_BOOKMARK).length;
        await eventually(() => watch.error ?? bookmarks() >= 3, (2 * IDLE_S + 10) * 1_000);
        assert.equal(watch.error, undefined);
        const later = await register(server, { instance: instance('p2') });
        await watch.reached(later.revision);
        watch.close();
      },
    );

    test(
      `${name}: a server that is killed ends a watch so that its client calls again`,
      { concurrency: true },
      async (t) => {
        const folder = temporaryFolder();
        const first = await startWith(t, ['--data-dir', folder], []);
        const port = first.address.split(':')[1]!;
        const proxy = await start(t, first);
        const far = { ...first, ...proxy };
        const { revision } = await register(far, { instance: instance('p1') });
        const view = new ServicesView();
        const watch = watchServices(far, { services: ['pay'] });
        await watch.reached(revision);
        applyAll(view, watch);
        await first.kill();
        const error = await watch.failed();
        t.diagnostic(`the watch ended with ${error.code}: ${error.details}`);
        assert.ok(!FINAL.includes(error.code), `${error.code}: ${error.details}`);
        const refused = await failure(discover(far, { service: 'pay' }));
        t.diagnostic(`a call without a server ended with ${refused.code}: ${refused.details}`);
        assert.equal(refused.code, Code.UNAVAILABLE);
        const second = await startWith(t, ['--data-dir', folder, '--grpc-port', port, '--http-port', '0'], []);
        const later = await register(second, { instance: instance('p2') });
        const again = await eventually(async () => {
          const one = watchServices(far, { services: ['pay'], resumeToken: watch.token });
          await eventually(() => one.error ?? one.messages.length > 0);
          return one.error ? undefined : one;
        });
        await again.reached(later.revision);
        assert.equal(again.messages[0]?.resetReason, ResetReason.RESET_REASON_UNSPECIFIED);
        applyAll(view, again);
        assert.deepEqual([...view.instances.keys()].sort(), ['pay/p1', 'pay/p2']);
        again.close();
      },
    );
  }

  test('Envoy: more watches than one connection takes are spread over several', async (t) => {
    const { server, far } = await behind(t, startEnvoy);
    const { revision } = await register(server, { instance: instance('p1') });
    // A client's own connection to Envoy takes 2,000.
    const watches = Array.from({ length: 1_950 }, () => watchServices(far, { services: ['pay'] }));
    await Promise.all(watches.map((watch) => watch.reached(revision, 30_000)));
    assert.equal((await discover(far, { service: 'pay' })).instances.length, 1);
    for (const watch of watches) watch.close();
  });

  test(
    'Envoy: a snapshot that takes longer than its route allows comes over several streams',
    { concurrency: true },
    async (t) => {
      const server = await startWith(t, ['--data-dir', temporaryFolder()], []);
      const far = { ...server, ...(await startEnvoy(t, server, { streamMaxS: 4 })) };
      const key = (i: number): string => `k${i}`;
      const publish = (i: number, mark: string): Promise<unknown> =>
        publishConfig(server, { configs: [{ key: key(i), content: text(mark.padEnd(500_000, '.')) }] });
      for (let i = 0; i < 130; i++) await publish(i, 'first');
      const expected = new Map(Array.from({ length: 130 }, (_, i) => [key(i), 'first']));
      const view = new Map<string, string>();
      const staged: [string, string | undefined][] = [];
      let token = '';
      let tries = 0;
      let revision = 0n;
      while (revision === 0n) {
        tries++;
        assert.ok(tries <= 20, 'it gets on with each try');
        const watch = watchConfig(far, { all: true, resumeToken: token });
        let isFirst = true;
        let isOpen = true;
        let bytes = 0;
        watch.stream.on('data', ({ progress, upserted, removed }: WatchConfigResponse) => {
          if (!isOpen) return;
          if (isFirst) assert.equal(progress!.continues, tries > 1);
          isFirst = false;
          for (const { key: removedKey } of removed) staged.push([removedKey, undefined]);
          for (const config of upserted)
            staged.push([config.key, (config.content!.value as string).replace(/\.+$/, '')]);
          token = progress!.continueToken || progress!.resumeToken;
          ({ revision } = progress!);
          // Some 4 MB a second.
          bytes += upserted.reduce((sum, { size }) => sum + size, 0);
          if (bytes < 1_000_000) return;
          bytes = 0;
          watch.stream.pause();
          setTimeout(() => watch.stream.resume(), 250);
        });
        await eventually(() => watch.ended || watch.error || revision > 0n, 30_000);
        isOpen = false;
        watch.close();
        if (revision > 0n) break;
        assert.ok(watch.error && !FINAL.includes(watch.error.code), watch.error?.details);
        // Between the tries a part that has arrived changes, and one goes.
        await publish(tries, `try ${tries}`);
        expected.set(key(tries), `try ${tries}`);
        await deleteConfig(server, { key: key(100 + tries) });
        expected.delete(key(100 + tries));
      }
      t.diagnostic(`${tries} tries`);
      assert.ok(tries >= 3, `${tries} tries`);
      for (const [name, value] of staged) {
        if (value === undefined) view.delete(name);
        else view.set(name, value);
      }
      assert.deepEqual([...view].sort(), [...expected].sort());
    },
  );
});
