import { PeerServiceDefinition } from '../gen/rollcall/peer/v1/peer_service.js';
import { AdminServiceDefinition } from '../gen/rollcall/v1/admin_service.js';
import { ConfigServiceDefinition } from '../gen/rollcall/v1/config_service.js';
import { RegistryServiceDefinition } from '../gen/rollcall/v1/registry_service.js';
import type { MethodDescription, ServiceDescription } from './call/method.js';
import type { Audience, Permission } from './call/method-info.js';
import { HEARTBEAT_REQUEST } from './registry/heartbeats.js';

/** A service of the contract: its audience, and the permission that each method needs. */
export interface ServiceRow<Service extends ServiceDescription> {
  readonly definition: Service;
  readonly audience: Audience;
  readonly permissions: { readonly [M in keyof Service['methods']]: Permission };
  /** Decoders that take the place of the generated ones. */
  readonly decoders?: { readonly [M in keyof Service['methods']]?: MethodDescription<unknown, never>['requestType'] };
}

const row = <Service extends ServiceDescription>(one: ServiceRow<Service>): ServiceRow<Service> => one;

/**
 * Every service of the contract. A method without a permission does not compile. Only the `idempotency_level` of a
 * method in the proto says whether the method only reads.
 */
export const SERVICES = {
  registry: row({
    definition: RegistryServiceDefinition,
    audience: 'public',
    permissions: {
      register: 'register',
      deregister: 'register',
      heartbeat: 'register',
      streamHeartbeats: 'register',
      discover: 'read',
      watchServices: 'read',
      getInstance: 'read',
      listServices: 'read',
      listNamespaces: 'read',
      listInstances: 'read',
      deregisterInstances: 'register',
      setInstanceOverride: 'operate',
      clearInstanceOverride: 'operate',
      listInstanceOverrides: 'read',
      setServiceChecks: 'operate',
      listServiceChecks: 'read',
      releaseChecks: 'operate',
      getCheckResults: 'read',
    },
    decoders: { heartbeat: HEARTBEAT_REQUEST, streamHeartbeats: HEARTBEAT_REQUEST },
  }),
  config: row({
    definition: ConfigServiceDefinition,
    audience: 'public',
    permissions: {
      publishConfig: 'config:write',
      getConfig: 'config:read',
      listConfigs: 'config:read',
      deleteConfig: 'config:write',
      listConfigVersions: 'config:read',
      rollbackConfig: 'config:write',
      watchConfig: 'config:read',
    },
  }),
  admin: row({
    definition: AdminServiceDefinition,
    audience: 'admin',
    permissions: {
      getStatus: 'any',
      getSelf: 'any',
      listAuditEvents: 'operate',
      releaseProtection: 'operate',
      forgetMember: 'operate',
      why: 'read',
      listTransitions: 'read',
      watchTransitions: 'read',
      listLiveness: 'read',
      listWatchers: 'operate',
      getDelivery: 'operate',
      backup: 'admin',
    },
  }),
  peer: row({
    definition: PeerServiceDefinition,
    audience: 'peer',
    permissions: { lastHeard: 'peer', probe: 'peer', handOver: 'peer', getStoreStatus: 'peer', answerPart: 'peer' },
  }),
} as const;

/** Services of gRPC itself that the gRPC edge serves beside the contract. They are open to every caller. */
export const THIRD_PARTY_SERVICES = {
  'grpc.health.v1.Health': { audience: 'public', permission: 'none' },
  'grpc.reflection.v1.ServerReflection': { audience: 'public', permission: 'none' },
  'grpc.reflection.v1alpha.ServerReflection': { audience: 'public', permission: 'none' },
} as const satisfies Record<string, { audience: Audience; permission: Permission }>;
