import { findDamage } from './damage.js';

// The child process of check.ts: checks the folder that its argument names. It exits with 0 if the folder is whole, and
// else writes the damage to standard error and exits with 1.
function check(folder: string): string | undefined {
  try {
    return findDamage(folder);
  } catch (error) {
    return (error as Error).message;
  }
}

const damage = check(process.argv[2]!);
if (damage) process.stderr.write(`damage: ${damage}\n`);
process.exit(damage ? 1 : 0);
