import { systemClock } from '../../src/base/clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { storeContract } from './store.contract.js';

storeContract(
  'memory',
  async (t) => {
    const store = new MemoryStore(systemClock, { leaseMs: 60 });
    t.after(() => store.close());
    return {
      store,
      // The entries of this store outlive its process. Opening it again drops only the recent revisions.
      reopen: async () => store.forgetRecent(),
      compact: async () => store.compactAll(),
      killMember: (key) => store.killMember(key),
      backUp: () => {
        const backup = store.backup();
        return () => store.restore(backup);
      },
    };
  },
  { restores: true },
);
