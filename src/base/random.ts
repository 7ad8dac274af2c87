import { randomBytes, randomInt } from 'node:crypto';

/** Randomness as the product sees it. It is a parameter everywhere, so that a test can control it. */
export interface Random {
  /** A fresh identifier of 22 URL-safe characters (128 bits). */
  id(): string;
  /** A number from 0 up to, but not including, 1. */
  fraction(): number;
}

/** Ids are drawn from a pool of random bytes: one system call serves many. */
const POOL_BYTES = 4096;
const ID_BYTES = 16;
let pool = Buffer.alloc(0);
let used = 0;

/** The randomness of the machine. */
export const systemRandom: Random = {
  id() {
    if (used + ID_BYTES > pool.length) {
      pool = randomBytes(POOL_BYTES);
      used = 0;
    }
    used += ID_BYTES;
    return pool.toString('base64url', used - ID_BYTES, used);
  },
  fraction: () => randomInt(2 ** 32) / 2 ** 32,
};
