import { withoutContent } from '../../domain/config/content.js';
import type { Inspector } from '../../domain/config/inspection/inspector.js';
import type { Replica } from '../../domain/replica.js';
import type {
  ConfigServiceDefinition,
  GetConfigResponse,
  ListConfigsResponse,
  ListConfigVersionsResponse,
} from '../../gen/rollcall/v1/config_service.js';
import { type Handlers, serverStream, unary } from '../call/method.js';
import { pageToken, readFields } from '../call/reads.js';
import { configsCodec } from '../watch/codecs.js';
import type { WatchHub } from '../watch/hub.js';
import {
  checkDelete,
  checkGetConfig,
  checkListConfigs,
  checkListVersions,
  checkPublish,
  checkRollback,
  checkWatchConfig,
} from './checks.js';
import { checkSyntax } from './syntax.js';

/** The handlers of ConfigService. */
export function configHandlers(
  replica: Replica,
  hub: WatchHub,
  inspector: Inspector,
): Handlers<ConfigServiceDefinition> {
  const { publishing, versions, freshness, catalog } = replica;
  return {
    publishConfig: unary(checkPublish, async ({ write, drafts, texts }, call) => {
      const warnings = await checkSyntax(inspector, texts, call.signal);
      const { configs, revision } = await publishing.publish(write, drafts);
      return { configs: configs.map(withoutContent), revision, warnings };
    }),

    getConfig: unary(checkGetConfig, async ({ namespace, group, key, version, read }): Promise<GetConfigResponse> => {
      await freshness.ready(read);
      const config =
        version === 0n ? versions.current(namespace, group, key) : await versions.get(namespace, group, key, version);
      return { config, ...readFields(freshness.stamp()) };
    }),

    listConfigs: unary(
      checkListConfigs,
      async ({ namespace, group, prefix, size, after, selection, read }): Promise<ListConfigsResponse> => {
        await freshness.ready(read);
        const { entries, last } = versions.heads(namespace, group, prefix, size, after);
        return { configs: [...entries], nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
      },
    ),

    deleteConfig: unary(checkDelete, async ({ write, key, expectedVersion }) => {
      const { configs, revision } = await publishing.delete(write, key, expectedVersion);
      return { config: withoutContent(configs[0]!), revision };
    }),

    listConfigVersions: unary(
      checkListVersions,
      async ({ namespace, group, key, size, before, selection, read }): Promise<ListConfigVersionsResponse> => {
        await freshness.ready(read);
        const { entries, last } = await versions.list(namespace, group, key, size, before);
        return { versions: [...entries], nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
      },
    ),

    rollbackConfig: unary(checkRollback, async ({ write, key, version, expectedVersion }) => {
      const { configs, revision } = await publishing.rollback(write, key, version, expectedVersion);
      return { config: withoutContent(configs[0]!), revision };
    }),

    watchConfig: serverStream(checkWatchConfig, ({ selection, resumeToken }, sink) =>
      hub.open({ collection: catalog.configs, selection, codec: configsCodec, resumeToken }, sink),
    ),
  };
}
