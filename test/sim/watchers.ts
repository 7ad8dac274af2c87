import { type Encoded, sizeOf, whole } from '../../src/api/call/message.js';
import { sinkOf } from '../support/sink.js';
import { validateWatchServices } from '../../src/api/registry/validation.js';
import { servicesCodec } from '../../src/api/watch/codecs.js';
import { WatchServicesRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import { RollcallError } from '../../src/model/errors.js';
import type { Replica } from '../../src/domain/replica.js';
import type { WatchHub } from '../../src/api/watch/hub.js';
import type { SimProcess } from './process.js';
import { decode } from './records.js';
import type { Scene } from './scene.js';

/** A ResetReason: the revisions of before mean nothing any more. */
const OTHER_STORE = 2;

/** Parts are small, so that most views come in several, and streams end between them. */
export const PART_BYTES = 150;

/** A server that can be watched. */
export interface WatchedServer {
  /** Names the process: no other has this name. */
  readonly name: string;
  readonly process: SimProcess;
  readonly replica: Replica;
  readonly hub: WatchHub;
}

/** Clients that follow all services, at one replica after the other, by the one rule of the protocol. */
export class Watchers {
  constructor(
    private readonly scene: Scene,
    private readonly running: () => readonly WatchedServer[],
    private readonly services: readonly string[],
  ) {}

  async watch(): Promise<void> {
    const { world, dice, checker } = this.scene;
    let view = new Map<string, bigint>();
    let staged = new Map<string, bigint | undefined>();
    let snapshot = false;
    let token = '';
    let revision = 0n;
    let last: WatchedServer | undefined;
    for (;;) {
      const ready = this.running().filter(({ process, replica }) => !process.paused && replica.catalog.ready);
      if (ready.length === 0) {
        await world.sleep(200);
        continue;
      }
      const server = dice.pick(ready);
      if (token === '') this.scene.count('watch begun');
      else this.scene.count(server === last ? 'watch resumed' : 'watch resumed at another replica');
      last = server;
      let isFirst = true;
      const { ended, close } = this.#open(server, token, (bytes) => {
        const message = decode('rollcall.v1.WatchServicesResponse', bytes) as {
          progress: {
            kind: number;
            revision: bigint;
            resumeToken: string;
            resetReason: number;
            continueToken: string;
            continues: boolean;
          };
          upserted: { service: string; id: string; revision: bigint }[];
          removed: { service: string; id: string }[];
        };
        const { progress } = message;
        if (isFirst && progress.continues) this.scene.count('watch continued within a view');
        if (isFirst && !progress.continues) {
          staged = new Map();
          snapshot = false;
        }
        isFirst = false;
        if (progress.resetReason !== 0) this.scene.count('watch reset');
        if (progress.resetReason === OTHER_STORE) {
          this.scene.count('watch reset by a restore');
          revision = 0n;
        }
        if (progress.kind === 1 && !snapshot) {
          snapshot = true;
          staged = new Map();
        }
        for (const { service, id, revision: visible } of message.upserted)
          staged.set(`w/i/default/${service}/${id}`, visible);
        for (const { service, id } of message.removed) staged.set(`w/i/default/${service}/${id}`, undefined);
        if (progress.revision === 0n) {
          if (progress.continueToken !== '') token = progress.continueToken;
          return;
        }
        if (snapshot) view = new Map();
        for (const [key, visible] of staged) {
          if (visible === undefined) view.delete(key);
          else view.set(key, visible);
        }
        staged = new Map();
        snapshot = false;
        if (progress.revision < revision)
          checker.fail('W1', `a stream of ${server.name} went back from ${revision} to ${progress.revision}`);
        ({ revision } = progress);
        token = progress.resumeToken;
        this.scene.count('watch message applied');
        checker.viewIs(this.services, view, revision);
      });
      // Sometimes the stream is cut while its first view arrives.
      const lastsMs = dice.chance(0.3) ? dice.between(0, 15) : dice.between(2_000, 40_000);
      await Promise.race([ended, world.sleep(lastsMs)]);
      close();
      if (token !== '' && dice.chance(0.1)) {
        token = '';
        revision = 0n;
      }
      await world.sleep(dice.between(1, 100));
    }
  }

  /** Opens a stream whose reader takes its time. */
  #open(
    server: WatchedServer,
    token: string,
    read: (bytes: Uint8Array) => void,
  ): { ended: Promise<void>; close: () => void } {
    const { scene } = this;
    const { world, dice } = scene;
    let arrival = world.now;
    let open = true;
    let closed = (): void => undefined;
    const write = (message: Encoded, sent: () => void): number => {
      arrival = Math.max(arrival, world.now + dice.between(0.1, dice.chance(0.02) ? 3_000 : 5));
      world.at(arrival, () => {
        if (!server.process.dead && open) scene.guard(() => read(whole(message)));
        server.process.deliver(sent);
      });
      return sizeOf(message);
    };
    const onReleased = (listener: () => void): void => void (closed = listener);
    const transport = { write, end: () => closed(), onClosed: () => undefined, onReleased };
    const sink = sinkOf(transport, (error) => error as never);
    const { selection, filter } = validateWatchServices(
      WatchServicesRequest.fromPartial({ services: [...this.services], resumeToken: token }),
    );
    const ended = new Promise<void>((resolve) => {
      sink.onEnd(resolve);
      const look = (): void => (server.process.dead ? resolve() : void world.in(500, look));
      look();
    });
    const request = {
      collection: server.replica.catalog.instances,
      selection,
      codec: servicesCodec(filter),
      resumeToken: token,
      reader: { identity: undefined, principal: '', address: '' },
    };
    try {
      server.hub.open(request, sink);
    } catch (error) {
      if (!(error instanceof RollcallError)) throw error;
      sink.fail(error);
    }
    return {
      ended,
      close: () => {
        open = false;
        closed();
      },
    };
  }
}
