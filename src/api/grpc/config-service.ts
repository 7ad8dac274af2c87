import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { withoutContent } from '../../config/content.js';
import {
  type DeleteConfigRequest,
  DeleteConfigResponse,
  type GetConfigRequest,
  GetConfigResponse,
  type ListConfigsRequest,
  ListConfigsResponse,
  type ListConfigVersionsRequest,
  ListConfigVersionsResponse,
  type PublishConfigRequest,
  PublishConfigResponse,
  type RollbackConfigRequest,
  RollbackConfigResponse,
  type WatchConfigRequest,
} from '../../gen/rollcall/v1/config_service.js';
import { encodePageToken } from '../../model/tokens.js';
import type { Replica } from '../../replica.js';
import type { Calls, Encoded } from './calls.js';
import {
  checkDelete,
  checkGetConfig,
  checkListConfigs,
  checkListVersions,
  checkPublish,
  checkRollback,
  checkWatchConfig,
} from './config-requests.js';
import { readFields } from './registry-service.js';
import type { WatchHub } from './watch-hub.js';
import { configsCodec } from './watch-messages.js';

/** ConfigService on gRPC: check, call, answer. */
export function configService(replica: Replica, calls: Calls, hub: WatchHub): UntypedServiceImplementation {
  const { publishing, versions, reads, catalog } = replica;
  return {
    publishConfig: calls.unary(async (request: PublishConfigRequest) => {
      const { write, drafts } = checkPublish(request);
      const { configs, revision } = await publishing.publish(write, drafts);
      return PublishConfigResponse.create({ configs: configs.map(withoutContent), revision });
    }),

    getConfig: calls.unary(async (request: GetConfigRequest) => {
      const { namespace, group, key } = checkGetConfig(request);
      await reads.ready(request);
      const config =
        request.version === 0n
          ? versions.current(namespace, group, key)
          : await versions.get(namespace, group, key, request.version);
      return GetConfigResponse.create({ config, ...readFields(reads.stamp()) });
    }),

    listConfigs: calls.unary(async (request: ListConfigsRequest) => {
      const { namespace, group, prefix, size, after, selection } = checkListConfigs(request);
      await reads.ready(request);
      const { entries, last } = versions.heads(namespace, group, prefix, size, after);
      const nextPageToken = last === undefined ? '' : encodePageToken({ after: [last], selection });
      return ListConfigsResponse.create({ configs: [...entries], nextPageToken, ...readFields(reads.stamp()) });
    }),

    deleteConfig: calls.unary(async (request: DeleteConfigRequest) => {
      const { write, key } = checkDelete(request);
      const { configs, revision } = await publishing.delete(write, key, request.expectedVersion);
      return DeleteConfigResponse.create({ config: withoutContent(configs[0]!), revision });
    }),

    listConfigVersions: calls.unary(async (request: ListConfigVersionsRequest) => {
      const { namespace, group, key, size, before, selection } = checkListVersions(request);
      await reads.ready(request);
      const { entries, last } = await versions.list(namespace, group, key, size, before);
      const nextPageToken = last === undefined ? '' : encodePageToken({ after: [last], selection });
      return ListConfigVersionsResponse.create({ versions: [...entries], nextPageToken, ...readFields(reads.stamp()) });
    }),

    rollbackConfig: calls.unary(async (request: RollbackConfigRequest) => {
      const { write, key } = checkRollback(request);
      const { configs, revision } = await publishing.rollback(write, key, request.version, request.expectedVersion);
      return RollbackConfigResponse.create({ config: withoutContent(configs[0]!), revision });
    }),

    watchConfig: calls.stream((call: ServerWritableStream<WatchConfigRequest, Encoded>, ending) => {
      const selection = checkWatchConfig(call.request);
      const { resumeToken } = call.request;
      hub.open({ collection: catalog.configs, selection, codec: configsCodec, resumeToken }, call, ending);
    }),
  };
}
