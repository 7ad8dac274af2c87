import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DescMessage, type JsonObject } from '@bufbuild/protobuf';
import { Pieces } from '../../../../src/api/call/message.js';
import { Json } from '../../../../src/edges/http/json.js';
import { serverSentEvents } from '../../../../src/edges/http/stream-framings.js';
import { IMAGE } from '../../../../src/edges/wire/image.js';
import { WatchServicesResponse } from '../../../../src/gen/rollcall/v1/registry_service.js';

/** Counts the messages that become JSON. */
class CountingJson extends Json {
  encoded: string[] = [];
  override valueOf(type: DescMessage, bytes: Uint8Array): JsonObject {
    const value = super.valueOf(type, bytes);
    this.encoded.push(Object.keys(value).join());
    return value;
  }
}

const encode = (fields: object): Uint8Array =>
  WatchServicesResponse.encode(WatchServicesResponse.fromPartial(fields)).finish();

test('a thousand readers of one change cost one encoding of it as JSON, and each gets its own token', () => {
  const json = new CountingJson(IMAGE);
  const types = json.typesOf('/rollcall.v1.RegistryService/WatchServices');
  const framing = serverSentEvents({ json, request: undefined, refuse: () => assert.fail() });
  const shared = encode({ upserted: [{ service: 'pay', id: 'p1' }] });
  const events = Array.from({ length: 1_000 }, (_, i) =>
    String(
      framing.message(
        { types } as never,
        new Pieces(shared, encode({ progress: { revision: 5n, resumeToken: `t${i}` } })),
      ),
    ),
  );
  assert.equal(json.encoded.filter((fields) => fields === 'upserted').length, 1);
  assert.equal(
    events[7],
    'id: t7\ndata: {"upserted":[{"service":"pay","id":"p1"}],"progress":{"revision":"5","resumeToken":"t7"}}\n\n',
  );
  assert.equal(new Set(events).size, 1_000);
});

test('a message whose pieces are empty is JSON all the same', () => {
  const json = new Json(IMAGE);
  const { output } = json.typesOf('/rollcall.v1.RegistryService/WatchServices');
  const none = new Uint8Array(0);
  const progress = encode({ progress: { revision: 5n } });
  assert.equal(String(json.textOf(output, new Pieces(none, none))), '{}');
  assert.equal(String(json.textOf(output, new Pieces(none, progress))), '{"progress":{"revision":"5"}}');
  assert.equal(String(json.textOf(output, new Pieces(progress, none))), '{"progress":{"revision":"5"}}');
});
