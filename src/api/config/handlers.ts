import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { withoutContent } from '../../domain/config/content.js';
import {
  type DeleteConfigRequest,
  type DeleteConfigResponse,
  type GetConfigRequest,
  type GetConfigResponse,
  type ListConfigsRequest,
  type ListConfigsResponse,
  type ListConfigVersionsRequest,
  type ListConfigVersionsResponse,
  type PublishConfigRequest,
  type PublishConfigResponse,
  type RollbackConfigRequest,
  type RollbackConfigResponse,
  type WatchConfigRequest,
} from '../../gen/rollcall/v1/config_service.js';
import type { Replica } from '../../domain/replica.js';
import type { Calls, Encoded } from '../../edges/grpc/calls.js';
import {
  checkDelete,
  checkGetConfig,
  checkListConfigs,
  checkListVersions,
  checkPublish,
  checkRollback,
  checkWatchConfig,
} from './checks.js';
import { pageToken, readFields } from '../registry/handlers.js';
import type { WatchHub } from '../watch/hub.js';
import { configsCodec } from '../watch/messages.js';

/** ConfigService on gRPC: check, call, answer. */
export function configService(replica: Replica, calls: Calls, hub: WatchHub): UntypedServiceImplementation {
  const { publishing, versions, reads, catalog } = replica;
  return {
    publishConfig: calls.unary(async (request: PublishConfigRequest): Promise<PublishConfigResponse> => {
      const { write, drafts } = checkPublish(request);
      const { configs, revision } = await publishing.publish(write, drafts);
      return { configs: configs.map(withoutContent), revision };
    }),

    getConfig: calls.unary(async (request: GetConfigRequest): Promise<GetConfigResponse> => {
      const { namespace, group, key } = checkGetConfig(request);
      await reads.ready(request);
      const config =
        request.version === 0n
          ? versions.current(namespace, group, key)
          : await versions.get(namespace, group, key, request.version);
      return { config, ...readFields(reads.stamp()) };
    }),

    listConfigs: calls.unary(async (request: ListConfigsRequest): Promise<ListConfigsResponse> => {
      const { namespace, group, prefix, size, after, selection } = checkListConfigs(request);
      await reads.ready(request);
      const { entries, last } = versions.heads(namespace, group, prefix, size, after);
      const nextPageToken = pageToken(last, selection);
      return { configs: [...entries], nextPageToken, ...readFields(reads.stamp()) };
    }),

    deleteConfig: calls.unary(async (request: DeleteConfigRequest): Promise<DeleteConfigResponse> => {
      const { write, key } = checkDelete(request);
      const { configs, revision } = await publishing.delete(write, key, request.expectedVersion);
      return { config: withoutContent(configs[0]!), revision };
    }),

    listConfigVersions: calls.unary(async (request: ListConfigVersionsRequest): Promise<ListConfigVersionsResponse> => {
      const { namespace, group, key, size, before, selection } = checkListVersions(request);
      await reads.ready(request);
      const { entries, last } = await versions.list(namespace, group, key, size, before);
      const nextPageToken = pageToken(last, selection);
      return { versions: [...entries], nextPageToken, ...readFields(reads.stamp()) };
    }),

    rollbackConfig: calls.unary(async (request: RollbackConfigRequest): Promise<RollbackConfigResponse> => {
      const { write, key } = checkRollback(request);
      const { configs, revision } = await publishing.rollback(write, key, request.version, request.expectedVersion);
      return { config: withoutContent(configs[0]!), revision };
    }),

    watchConfig: calls.stream((call: ServerWritableStream<WatchConfigRequest, Encoded>, ending) => {
      const selection = checkWatchConfig(call.request);
      const { resumeToken } = call.request;
      hub.open({ collection: catalog.configs, selection, codec: configsCodec, resumeToken }, call, ending);
    }),
  };
}
