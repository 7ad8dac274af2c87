import { nodeNotFound } from '../../domain/cluster/lost-members.js';
import type { Replica } from '../../domain/replica.js';
import type { AdminServiceDefinition } from '../../gen/rollcall/v1/admin_service.js';
import { type Handlers, unary } from '../call/method.js';
import type { WatchHub } from '../watch/hub.js';
import { checkForgetMember, checkReleaseProtection } from './checks.js';
import { type About, statusOf } from './status.js';

/** The handlers of AdminService. */
export function adminHandlers(replica: Replica, hub: WatchHub, about: About): Handlers<AdminServiceDefinition> {
  return {
    getStatus: unary(
      () => undefined,
      () => statusOf(replica, hub.size, about),
    ),

    releaseProtection: unary(checkReleaseProtection, async ({ namespace, service, signature }) => ({
      revision: await replica.protection.release(namespace, service, signature),
    })),

    forgetMember: unary(checkForgetMember, async (node) => {
      if (!replica.lostMembers) throw nodeNotFound(node);
      return { revision: await replica.lostMembers.forget(node) };
    }),
  };
}
