import { withoutContent } from '../../domain/config/content.js';
import type { Inspector } from '../../domain/config/inspection/inspector.js';
import type { Replica } from '../../domain/replica.js';
import type {
  ConfigServiceDefinition,
  GetConfigResponse,
  ListConfigsResponse,
  ListConfigVersionsResponse,
} from '../../gen/rollcall/v1/config_service.js';
import { type Handlers, needs, serverStream, unary } from '../call/method.js';
import { authoredBy, readerOf } from '../call/signature.js';
import { pageToken, readFields } from '../call/reads.js';
import { configsCodec } from '../watch/codecs.js';
import { type Call, notesOf } from '../call/call.js';
import type { May } from '../call/may.js';
import type { WriteRequest } from '../../domain/config/publishing.js';
import type { WatchHub } from '../watch/hub.js';
import {
  type ValidatedWrite,
  validateDelete,
  validateGetConfig,
  validateListConfigs,
  validateListVersions,
  validatePublish,
  validateRollback,
  validateWatchConfig,
} from './validation.js';
import { validateSyntax } from './syntax.js';

/** The handlers of ConfigService. */
export function configHandlers(
  replica: Replica,
  hub: WatchHub,
  inspector: Inspector,
): Handlers<ConfigServiceDefinition> {
  const { publishing, versions, freshness, catalog } = replica;
  return {
    publishConfig: unary(
      validatePublish,
      needs(({ write: { namespace, group }, drafts, validateOnly }, may) => {
        for (const { key } of drafts) may.config(namespace, group, key);
        // Its answer shows which configs there are, and no event is made of it.
        if (validateOnly) for (const { key } of drafts) may.alsoConfig('config:read', namespace, group, key);
      }),
      async ({ write, drafts, texts, validateOnly }, call) => {
        if (validateOnly) notesOf(call).changesNothing = true;
        const warnings = await validateSyntax(inspector, texts, call.signal);
        const request = writeOf(write, call);
        if (validateOnly) {
          const configs = await publishing.validate(request, drafts);
          return { configs: configs.map(withoutContent), revision: 0n, warnings };
        }
        const { configs, revision } = await publishing.publish(request, drafts);
        return { configs: configs.map(withoutContent), revision, warnings };
      },
    ),

    getConfig: unary(
      validateGetConfig,
      needs((config, may) => ofConfig(config, may)),
      async ({ namespace, group, key, version, read }): Promise<GetConfigResponse> => {
        await freshness.ready(read);
        const config =
          version === 0n ? versions.current(namespace, group, key) : await versions.get(namespace, group, key, version);
        return { config, ...readFields(freshness.stamp()) };
      },
    ),

    listConfigs: unary(
      validateListConfigs,
      (list, may) => {
        may.anything();
        return { ...list, sees: (group: string, key: string) => may.hasConfig(list.namespace, group, key) };
      },
      async ({ namespace, group, prefix, size, after, selection, read, sees }): Promise<ListConfigsResponse> => {
        await freshness.ready(read);
        const { entries, last } = versions.heads(namespace, group, prefix, size, after, sees);
        return { configs: [...entries], nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
      },
    ),

    deleteConfig: unary(
      validateDelete,
      needs((write, may) => ofWrite(write, may)),
      async ({ write, key, expectedVersion }, call) => {
        const { configs, revision } = await publishing.delete(writeOf(write, call), key, expectedVersion);
        return { config: withoutContent(configs[0]!), revision };
      },
    ),

    listConfigVersions: unary(
      validateListVersions,
      needs((config, may) => ofConfig(config, may)),
      async ({ namespace, group, key, size, before, selection, read }): Promise<ListConfigVersionsResponse> => {
        await freshness.ready(read);
        const { entries, last } = await versions.list(namespace, group, key, size, before);
        return { versions: [...entries], nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
      },
    ),

    rollbackConfig: unary(
      validateRollback,
      needs((write, may) => ofWrite(write, may)),
      async ({ write, key, version, expectedVersion }, call) => {
        const { configs, revision } = await publishing.rollback(writeOf(write, call), key, version, expectedVersion);
        return { config: withoutContent(configs[0]!), revision };
      },
    ),

    watchConfig: serverStream(
      validateWatchConfig,
      needs(({ selection: { namespace }, filters }, may) => {
        if (!filters) return may.allConfigs(namespace, '');
        for (const { group, keys, prefixes } of filters) {
          for (const key of keys) may.config(namespace, group, key);
          for (const prefix of prefixes) may.allConfigs(namespace, `${group}/${prefix}`);
          if (keys.length + prefixes.length === 0) may.allConfigs(namespace, `${group}/`);
        }
      }),
      ({ selection, resumeToken, watcher }, sink, call) => {
        const reader = readerOf(call, watcher);
        hub.open({ collection: catalog.configs, selection, codec: configsCodec, resumeToken, reader }, sink);
      },
    ),
  };
}

interface ConfigName {
  readonly namespace: string;
  readonly group: string;
  readonly key: string;
}

const ofConfig = ({ namespace, group, key }: ConfigName, may: May): void => may.config(namespace, group, key);

const ofWrite = ({ write, key }: { readonly write: ValidatedWrite; readonly key: string }, may: May): void =>
  may.config(write.namespace, write.group, key);

/** A write as its caller signs it. */
const writeOf = (write: ValidatedWrite, call: Call): WriteRequest => ({
  ...authoredBy(call, write),
  principal: call.principal.kind === 'anonymous' ? '' : call.principal.name,
});
