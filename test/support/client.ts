import type { ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import * as admin from '../../src/gen/rollcall/v1/admin_service.js';
import * as config from '../../src/gen/rollcall/v1/config_service.js';
import * as registry from '../../src/gen/rollcall/v1/registry_service.js';
import { WatchKind, type WatchProgress } from '../../src/gen/rollcall/v1/watch.js';
import { type Flat, flat } from './progress.js';
import { call, type Clients, eventually, type ServerProcess } from './server.js';

/** Fills a message from the fields a test cares for. */
interface Message<T> {
  fromPartial(fields: object): T;
}
type Fields<T> = T extends bigint | string | number | boolean | Uint8Array | Map<unknown, unknown> | undefined
  ? T
  : T extends readonly (infer E)[]
    ? Fields<E>[]
    : { [K in keyof T]?: Fields<T[K]> };

/** A method of a service: `register(server, { instance })` makes the call, or rejects with the ServiceError. */
const method =
  <Response>(service: 'registry' | 'config' | 'admin', name: string) =>
  <Request>(message: Message<Request>) =>
  (server: Clients, fields: Fields<Request> = {} as Fields<Request>): Promise<Response> =>
    call(server[service], name, message.fromPartial(fields as object) as object);

export const register = method<registry.RegisterResponse>('registry', 'register')(registry.RegisterRequest);
export const deregister = method<registry.DeregisterResponse>('registry', 'deregister')(registry.DeregisterRequest);
export const heartbeat = method<registry.HeartbeatResponse>('registry', 'heartbeat')(registry.HeartbeatRequest);
export const discover = method<registry.DiscoverResponse>('registry', 'discover')(registry.DiscoverRequest);
export const getInstance = method<registry.GetInstanceResponse>('registry', 'getInstance')(registry.GetInstanceRequest);
export const listInstances = method<registry.ListInstancesResponse>(
  'registry',
  'listInstances',
)(registry.ListInstancesRequest);
export const listServices = method<registry.ListServicesResponse>(
  'registry',
  'listServices',
)(registry.ListServicesRequest);
export const listNamespaces = method<registry.ListNamespacesResponse>(
  'registry',
  'listNamespaces',
)(registry.ListNamespacesRequest);
export const publishConfig = method<config.PublishConfigResponse>(
  'config',
  'publishConfig',
)(config.PublishConfigRequest);
export const getConfig = method<config.GetConfigResponse>('config', 'getConfig')(config.GetConfigRequest);
export const listConfigs = method<config.ListConfigsResponse>('config', 'listConfigs')(config.ListConfigsRequest);
export const deleteConfig = method<config.DeleteConfigResponse>('config', 'deleteConfig')(config.DeleteConfigRequest);
export const listConfigVersions = method<config.ListConfigVersionsResponse>(
  'config',
  'listConfigVersions',
)(config.ListConfigVersionsRequest);
export const rollbackConfig = method<config.RollbackConfigResponse>(
  'config',
  'rollbackConfig',
)(config.RollbackConfigRequest);
export const releaseProtection = method<admin.ReleaseProtectionResponse>(
  'admin',
  'releaseProtection',
)(admin.ReleaseProtectionRequest);
export const forgetMember = method<admin.ForgetMemberResponse>('admin', 'forgetMember')(admin.ForgetMemberRequest);
export const setInstanceOverride = method<registry.SetInstanceOverrideResponse>(
  'registry',
  'setInstanceOverride',
)(registry.SetInstanceOverrideRequest);
export const clearInstanceOverride = method<registry.ClearInstanceOverrideResponse>(
  'registry',
  'clearInstanceOverride',
)(registry.ClearInstanceOverrideRequest);
export const listInstanceOverrides = method<registry.ListInstanceOverridesResponse>(
  'registry',
  'listInstanceOverrides',
)(registry.ListInstanceOverridesRequest);
export const setServiceChecks = method<registry.SetServiceChecksResponse>(
  'registry',
  'setServiceChecks',
)(registry.SetServiceChecksRequest);
export const releaseChecks = method<registry.ReleaseChecksResponse>(
  'registry',
  'releaseChecks',
)(registry.ReleaseChecksRequest);
export const getCheckResults = method<registry.GetCheckResultsResponse>(
  'registry',
  'getCheckResults',
)(registry.GetCheckResultsRequest);
export const why = method<admin.WhyResponse>('admin', 'why')(admin.WhyRequest);
export const getStatus = ({ admin: client }: Clients): Promise<admin.GetStatusResponse> =>
  call(client, 'getStatus', {});

/** A short way to say a config's text. */
export const text = (value: string): { $case: 'text'; value: string } => ({ $case: 'text', value });

/** A message of either watch. */
interface WatchMessage {
  readonly progress: WatchProgress | undefined;
}

/** An open watch, and the messages that came on it. */
export class Watch<M extends WatchMessage> {
  readonly messages: Flat<M>[] = [];
  error: ServiceError | undefined;
  ended = false;

  constructor(readonly stream: ClientReadableStream<M>) {
    stream.on('data', (message: M) => this.messages.push(flat(message)));
    stream.on('error', (error: ServiceError) => (this.error = error));
    stream.on('close', () => (this.ended = true));
    stream.on('end', () => (this.ended = true));
  }

  get last(): Flat<M> | undefined {
    return this.messages.at(-1);
  }

  /** The token of the newest message that has one. */
  get token(): string {
    return this.messages.findLast(({ resumeToken }) => resumeToken !== '')!.resumeToken;
  }

  /** Waits until the watch has seen a revision. */
  async reached(revision: bigint, within?: number): Promise<void> {
    await eventually(() => this.messages.some((message) => message.revision >= revision) || this.error, within);
    if (this.error) throw this.error;
  }

  /** Waits for the error that ends the watch. */
  failed(within?: number): Promise<ServiceError> {
    return eventually(() => this.error, within);
  }

  /** Waits until a message fits. */
  seen(fits: (message: Flat<M>) => boolean, within?: number): Promise<Flat<M>> {
    return eventually(() => this.messages.find(fits), within);
  }

  close(): void {
    this.stream.cancel();
  }
}

export function watchServices(
  { registry: client }: ServerProcess,
  fields: Fields<registry.WatchServicesRequest>,
): Watch<registry.WatchServicesResponse> {
  return new Watch(client.watchServices(registry.WatchServicesRequest.fromPartial(fields)));
}

export function watchConfig(
  { config: client }: ServerProcess,
  fields: Fields<config.WatchConfigRequest>,
): Watch<config.WatchConfigResponse> {
  return new Watch(client.watchConfig(config.WatchConfigRequest.fromPartial(fields)));
}

/** The view a client has of instances, by the one rule of the contract. */
export class ServicesView {
  readonly instances = new Map<string, registry.WatchServicesResponse['upserted'][number]>();
  revision = 0n;
  #staged: Flat<registry.WatchServicesResponse>[] = [];

  /** Takes a message in; true when the view has moved to a revision. */
  apply(message: Flat<registry.WatchServicesResponse>): boolean {
    this.#staged.push(message);
    if (message.revision === 0n) return false;
    if (this.#staged.some(({ kind }) => kind === WatchKind.WATCH_KIND_SNAPSHOT)) this.instances.clear();
    for (const { upserted, removed } of this.#staged) {
      for (const { service, id } of removed) this.instances.delete(`${service}/${id}`);
      for (const instance of upserted) this.instances.set(`${instance.service}/${instance.id}`, instance);
    }
    this.#staged = [];
    this.revision = message.revision;
    return true;
  }
}
