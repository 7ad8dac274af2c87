import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import type { Random } from '../../base/random.js';
import { PeerSecretRecord } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import { BadRecord, decode } from '../../model/item.js';
import { PEER_SECRET_KEY } from '../../model/member.js';
import { putTxn, type Revision, type Store } from '../../store/store.js';

/** The secret is read again this long after the last reading at the earliest: wrong proofs must not cause more readings. */
const READ_EVERY_MS = 1_000;
/** The secret is read again after this long in any case: a new one takes the place of the old one within this time. */
const STALE_MS = 30_000;
/** As long as the code that is made with it. */
const SECRET_BYTES = 32;

/** The dependencies of a PeerSecret. */
export interface PeerSecretParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * The secret by which the members of a cluster prove themselves to one another. It is a record of the store, so it needs no
 * configuration, and a program that can read the store has it. The first member that needs it makes it.
 */
export class PeerSecret {
  #current: Buffer | undefined;
  #reading: Promise<void> | undefined;
  #readMs = -Infinity;

  constructor(private readonly parts: PeerSecretParts) {}

  /** The secret as it was last read. Reads it if it never was. Rejects if the store does not answer. */
  async value(): Promise<Buffer> {
    if (!this.#current) await this.#readIfDue();
    // A known secret is used while it is read again: questions must not wait for the store, which may be unreachable.
    else if (this.parts.clock.now() - this.#readMs >= STALE_MS) this.doubt();
    if (!this.#current) throw new RollcallError('STORE_UNAVAILABLE', 'the secret of the members cannot be read yet');
    return this.#current;
  }

  /** Reads the secret again in the background, because a proof was wrong: it may be a new one. */
  doubt(): void {
    void this.#readIfDue().catch(() => undefined);
  }

  /** Reads the secret, unless it was read a moment ago. Calls at the same time share one reading. */
  #readIfDue(): Promise<void> {
    if (!this.#reading && this.parts.clock.now() - this.#readMs >= READ_EVERY_MS)
      this.#reading = this.#read().finally(() => (this.#reading = undefined));
    return this.#reading ?? Promise.resolve();
  }

  async #read(): Promise<void> {
    this.#readMs = this.parts.clock.now();
    const { store, random } = this.parts;
    const read = async (): Promise<Buffer | undefined> => {
      const { entry } = await store.get(PEER_SECRET_KEY);
      return entry && Buffer.from(decode(PEER_SECRET_KEY, entry.value, PeerSecretRecord).secret);
    };
    let secret = await read();
    if (!secret) {
      await writeSecret(store, random, 0n);
      secret = await read(); // of several members that make one, the first wins
    }
    if (secret?.length !== SECRET_BYTES) throw new BadRecord(`${PEER_SECRET_KEY} holds no secret`);
    this.#current = secret;
  }
}

/** Gives the store a new secret: who holds a copy of the store has the one before. */
export async function renewSecret(store: Store, random: Random): Promise<void> {
  const { entry } = await store.get(PEER_SECRET_KEY);
  await writeSecret(store, random, entry?.modRevision ?? 0n);
}

async function writeSecret(store: Store, random: Random, modRevision: Revision): Promise<void> {
  const writeId = random.id();
  const record = PeerSecretRecord.encode({ writeId, secret: randomBytes(SECRET_BYTES) }).finish();
  await store.commit(putTxn(writeId, PEER_SECRET_KEY, record, modRevision));
}
