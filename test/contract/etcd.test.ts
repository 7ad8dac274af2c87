import { after } from 'node:test';
import { systemClock } from '../../src/base/clock.js';
import { systemRandom } from '../../src/base/random.js';
import { type EtcdStore, openEtcdStore } from '../../src/store/etcd/etcd-store.js';
import { processTelemetry } from '../../src/telemetry/telemetry.js';
import { openEtcd } from '../support/etcd.js';
import { storeContract, type Subject } from './store.contract.js';

const cluster = await openEtcd();
after(() => cluster.close());
let subjects = 0;

storeContract('etcd', async (t) => {
  const prefix = `rollcall-${++subjects}/`;
  const open = (): EtcdStore =>
    openEtcdStore({
      connection: { endpoints: cluster.endpoints, tls: undefined, user: undefined },
      prefix,
      clock: systemClock,
      random: systemRandom,
      telemetry: processTelemetry('silent', systemClock),
      leaseTtlS: 2,
    });
  const subject: Subject = {
    store: open(),
    reopen: async () => {
      await subject.store.close();
      subject.store = open();
    },
    compact: () => cluster.compact(),
    // The lease of a dead process expires. Revoking it has the same effect, only sooner.
    killMember: async (key) => {
      const { kvs } = await cluster.admin.kv.range({ key: Buffer.from(prefix + key) });
      await cluster.admin.leaseClient.leaseRevoke({ ID: kvs[0]!.lease });
    },
  };
  t.after(() => subject.store.close());
  return subject;
});
