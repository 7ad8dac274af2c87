import { clientOf, type GrpcClient } from './grpc-client.js';
import { AdminServiceDefinition } from '../../src/gen/rollcall/v1/admin_service.js';
import { ConfigServiceDefinition } from '../../src/gen/rollcall/v1/config_service.js';
import { RegistryServiceDefinition } from '../../src/gen/rollcall/v1/registry_service.js';

/** Clients of the public services, by grpc-js. */
export const RegistryServiceClient = clientOf(RegistryServiceDefinition);
export type RegistryServiceClient = GrpcClient<typeof RegistryServiceDefinition>;
export const ConfigServiceClient = clientOf(ConfigServiceDefinition);
export type ConfigServiceClient = GrpcClient<typeof ConfigServiceDefinition>;
export const AdminServiceClient = clientOf(AdminServiceDefinition);
export type AdminServiceClient = GrpcClient<typeof AdminServiceDefinition>;
