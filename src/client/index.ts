// The exports of the Node client. clients/node builds its package.
export { CallError, type FieldViolation } from './call-error.js';
export type { CallOptions, Calls, ServiceCalls } from './calls.js';
export { Client, type ClientOptions, type InstanceFilterFields } from './client.js';
export { type ConfigSelection, ConfigView } from './config-view.js';
export type { ConnectionOptions, ConnectionTls } from './connection.js';
export {
  type CloseOptions,
  type InstanceFields,
  type OverReason,
  Registration,
  type RegistrationEvent,
  type RegistrationOptions,
} from './registration.js';
export { registerResolver } from './resolver.js';
export { type ServiceSelection, ServiceView } from './service-view.js';
export { tokenFile } from './token-file.js';
export { View, type ViewOptions } from './view.js';
export { follow, type FollowOptions, type WatchMessage, type WatchStep } from './watch.js';
export { Config, ConfigFormat } from '../gen/rollcall/v1/config.js';
export { RejectedHeartbeat, RejectionReason } from '../gen/rollcall/v1/heartbeat.js';
export {
  Health,
  HealthReason,
  Instance,
  InstanceFilter,
  Liveness,
  RemovalReason,
  Reported,
  ReportedState,
} from '../gen/rollcall/v1/instance.js';
export { ResetReason, WatchKind, WatchProgress } from '../gen/rollcall/v1/watch.js';
