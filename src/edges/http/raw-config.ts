import type { IncomingHttpHeaders } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import { whole } from '../../api/call/message.js';
import { decodeUtf8 } from '../../base/utf8.js';
import { type Config, ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { invalidRequest, type RollcallError } from '../../model/errors.js';
import { GetConfigResponse } from '../../gen/rollcall/v1/config_service.js';
import { decompressed } from './body.js';
import { type HttpAnswer, jsonAnswer } from './exchange.js';
import type { Json } from './json.js';
import { jsonOfQuery } from './query.js';
import type { UnaryFraming } from './unary-framings.js';

/** The media types of the contents. */
const MEDIA_TYPES: Readonly<Partial<Record<ConfigFormat, string>>> = {
  [ConfigFormat.CONFIG_FORMAT_JSON]: 'application/json',
  [ConfigFormat.CONFIG_FORMAT_YAML]: 'application/yaml',
  [ConfigFormat.CONFIG_FORMAT_TOML]: 'application/toml',
  [ConfigFormat.CONFIG_FORMAT_BINARY]: 'application/octet-stream',
};

/** A browser that opens a config must not run it, whatever it contains. */
const HARMLESS = { 'content-security-policy': "sandbox; default-src 'none'" };

/** Characters of the hash in an ETag: after a restore of the store, versions come again with other contents. */
const ETAG_HASH_CHARS = 16;

/** The answer of GetConfig as the bare content, for programs that know nothing of Rollcall. */
export function rawContent(framing: UnaryFraming): UnaryFraming {
  return {
    ...framing,
    success: ({ request }, message) => {
      const { config, revision } = GetConfigResponse.decode(whole(message));
      return answerOf(config!, revision, request.headers['if-none-match']);
    },
  };
}

function answerOf(config: Config, revision: bigint, known: string | undefined): HttpAnswer {
  const { version, sha256, content, format } = config;
  if (!content) {
    const message = `version ${version} records a deletion and has no content`;
    return jsonAnswer(404, { code: 'not_found', message, reason: 'VERSION_DELETED' });
  }
  const etag = `"${version}-${sha256.slice(0, ETAG_HASH_CHARS)}"`;
  const headers = {
    ...{ etag, 'cache-control': 'no-cache', 'x-rollcall-version': String(version) },
    ...{ 'x-rollcall-revision': String(revision), ...HARMLESS },
  };
  if (isKnown(known, etag)) return { status: 304, headers, body: NOTHING };
  const type = MEDIA_TYPES[format] ?? 'text/plain; charset=utf-8';
  return { status: 200, headers: { 'content-type': type, ...headers }, body: Buffer.from(content.value as string) };
}

/** Returns true if the tags of a header If-None-Match include one. */
const isKnown = (header: string | undefined, etag: string): boolean =>
  header !== undefined && header.split(',').some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, '')));

/** The parameters of a PUT that are fields of the config rather than of the request. */
const DRAFT_FIELDS = /^(expected_version|expectedVersion|format|labels\..*)$/;

/** A PUT whose body is the content of one config, as a request of PublishConfig. */
export function putContent(key: string, query: URLSearchParams, json: Json, framing: UnaryFraming): UnaryFraming {
  return {
    ...framing,
    readRequest: ({ input }, headers, body, done) =>
      decompressed(headers, body, done, (content) => {
        refuseConditions(headers);
        if (content.length === 0 && headers['content-length'] === undefined) throw noBody();
        const draftType = input.fields.find(({ name }) => name === 'configs')!.message!;
        const params = [...query];
        const isDraft = ([name]: readonly [string, string]): boolean => DRAFT_FIELDS.test(name);
        const draft = jsonOfQuery(draftType, new URLSearchParams(params.filter(isDraft)), {
          key,
          ...contentOf(content),
        });
        const rest = new URLSearchParams(params.filter((param) => !isDraft(param)));
        return json.bytesOf(input, jsonOfQuery(input, rest, { configs: [draft] }));
      }),
  };
}

/** Conditions of HTTP that a write does not take: a version is compared by the store, and a tag is not. */
const CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'];

function refuseConditions(headers: IncomingHttpHeaders): void {
  const violations = CONDITIONS.filter((name) => headers[name] !== undefined).map((field) => ({
    field,
    description: 'is not taken by a write; use the parameter expected_version, with 0 for a config that must not exist',
  }));
  if (violations.length > 0) throw invalidRequest(violations);
}

function noBody(): RollcallError {
  return invalidRequest([
    { field: 'body', description: 'must be the content; send an empty one with content-length: 0' },
  ]);
}

/** Text where the bytes are UTF-8. */
function contentOf(body: Uint8Array): JsonObject {
  try {
    return { text: decodeUtf8(body) };
  } catch {
    return { data: Buffer.from(body).toString('base64') };
  }
}

const NOTHING = new Uint8Array(0);
