/** Every action that a grant can allow. The list is open: a new part of the product may add one. */
export const ACTIONS = {
  read: 'Read services and their instances: lists, Discover, GetInstance, watches.',
  register: 'Register, keep alive and deregister instances.',
  check: 'Define health checks of instances: the servers then connect to them.',
  'config:read': 'Read configs and their versions, and watch them.',
  'config:write': 'Publish, delete and roll back configs.',
  operate: "An operator's decisions and the state of the server, such as GetStatus and ReleaseProtection.",
  metrics: 'Read /metrics.',
  admin: 'All actions.',
} as const;

/** One action. */
export type Action = keyof typeof ACTIONS;

/** The part of the names of a grant for which a role allows its actions. */
interface RolePart {
  readonly actions: readonly Action[];
  /** NAMED: the services and configs that the grant names. NAMESPACE: all of its namespaces. */
  readonly reach: 'NAMED' | 'NAMESPACE';
}

/** A role: a name for actions that are granted together. */
export interface Role {
  readonly meaning: string;
  readonly parts: readonly RolePart[];
  /** True if the grant must name services, and allows only the configs that it names. False: a grant without names means all. */
  readonly namesRequired: boolean;
}

const role = (meaning: string, ...actions: readonly Action[]): Role => ({
  meaning,
  parts: [{ actions, reach: 'NAMED' }],
  namesRequired: false,
});

/** The roles that every access file can use. */
export const ROLES = {
  reader: role('Reads services and configs.', 'read', 'config:read'),
  discoverer: role('Reads services.', 'read'),
  service: {
    meaning:
      'A service: registers the services that the grant names, reads all services of the namespaces and the configs that the grant names.',
    parts: [
      { actions: ['register', 'config:read'], reach: 'NAMED' },
      { actions: ['read'], reach: 'NAMESPACE' },
    ],
    namesRequired: true,
  },
  publisher: role('Reads and writes configs, and reads services.', 'config:read', 'config:write', 'read'),
  operator: role(
    'Reads and registers services, operates, and reads metrics.',
    'read',
    'register',
    'check',
    'operate',
    'metrics',
  ),
  monitor: role('Reads metrics.', 'metrics'),
  admin: role('Everything.', 'admin'),
} as const satisfies Record<string, Role>;

/** A role of an access file: a list of actions. */
export const ownRole = (actions: readonly Action[]): Role => role('', ...actions);
