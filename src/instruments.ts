import * as access from './access/instruments.js';
import * as audit from './audit/instruments.js';
import * as api from './api/instruments.js';
import type { Alarm, Counter, Histogram } from './base/telemetry.js';
import { COUNTERS as BACKUP_COUNTERS } from './domain/backups.js';
import * as catalog from './catalog/instruments.js';
import * as checks from './domain/checks/instruments.js';
import * as cluster from './domain/cluster/instruments.js';
import * as config from './domain/config/instruments.js';
import * as health from './domain/health/instruments.js';
import * as overrides from './domain/overrides/instruments.js';
import * as registry from './domain/registry/instruments.js';
import * as retention from './domain/retention/instruments.js';
import * as store from './store/instruments.js';
import * as tls from './tls/instruments.js';

/** Every counter of the program. */
export const ALL_COUNTERS: readonly Counter[] = [
  registry.COUNTERS,
  health.COUNTERS,
  cluster.COUNTERS,
  overrides.COUNTERS,
  checks.COUNTERS,
  config.COUNTERS,
  retention.COUNTERS,
  BACKUP_COUNTERS,
  catalog.COUNTERS,
  store.COUNTERS,
  api.COUNTERS,
  access.COUNTERS,
  audit.COUNTERS,
].flatMap((counters) => Object.values<Counter>(counters));

/** Every histogram of the program. */
export const ALL_HISTOGRAMS: readonly Histogram[] = [
  catalog.HISTOGRAMS,
  cluster.HISTOGRAMS,
  ...Object.values(checks.HISTOGRAMS),
  store.HISTOGRAMS,
].flatMap((histograms) => Object.values<Histogram>(histograms));

/** Every alarm of the program. */
export const ALL_ALARMS: readonly Alarm[] = [
  store.ALARMS,
  catalog.ALARMS,
  health.ALARMS,
  overrides.ALARMS,
  checks.ALARMS,
  registry.ALARMS,
  cluster.ALARMS,
  tls.ALARMS,
  access.ALARMS,
  audit.ALARMS,
].flatMap((alarms) => Object.values<Alarm>(alarms));

/** All of them. */
export const ALL_INSTRUMENTS = { counters: ALL_COUNTERS, histograms: ALL_HISTOGRAMS, alarms: ALL_ALARMS };
