import { promises as dns } from 'node:dns';
import { isIP } from 'node:net';
import { endOf, fail, inconclusive, type ProbeEnd } from './outcomes.js';

/** How long an answer is used, and how long it may stand in for a resolver that does not answer. */
const FRESH_MS = 60_000;
const STALE_MS = 5 * 60_000;
/** How long the resolver has, and how often it is asked again. */
const TIMEOUT_MS = 1_000;
const TRIES = 2;
/** The most names that are kept. */
const NAMES_MAX = 10_000;

/** Answers that say that a name has no address. Any other failure is one of the resolver. */
const NO_ADDRESS: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME']);

/**
 * Resolves the names of targets. It asks the resolvers of the machine and never reads /etc/hosts, whose look-ups would
 * share the threads of the file system.
 */
export class TargetResolver {
  readonly #resolver = new dns.Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  readonly #known = new Map<string, { readonly ips: readonly string[]; readonly atMs: number }>();
  readonly #asked = new Map<string, Promise<readonly string[] | ProbeEnd>>();

  constructor(private readonly nowMs: () => number) {}

  /** The addresses of a target, or the end of its probe. */
  async resolve(address: string): Promise<readonly string[] | ProbeEnd> {
    if (isIP(address) !== 0) return [address];
    const known = this.#known.get(address);
    const ageMs = known ? this.nowMs() - known.atMs : Infinity;
    if (known && ageMs < FRESH_MS) return known.ips;
    let asked = this.#asked.get(address);
    if (!asked) {
      asked = this.#ask(address).finally(() => this.#asked.delete(address));
      this.#asked.set(address, asked);
    }
    // A probe does not wait for a resolver that may be slow, as long as the last answer may stand in.
    return known && ageMs < STALE_MS ? known.ips : asked;
  }

  close(): void {
    this.#resolver.cancel();
  }

  async #ask(name: string): Promise<readonly string[] | ProbeEnd> {
    const answers = await Promise.allSettled([this.#resolver.resolve4(name), this.#resolver.resolve6(name)]);
    const ips = answers.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
    if (ips.length > 0) {
      if (this.#known.size >= NAMES_MAX) this.#known.clear();
      this.#known.set(name, { ips, atMs: this.nowMs() });
      return ips;
    }
    const errors = answers.flatMap((one) => (one.status === 'rejected' ? [one.reason as { code?: string }] : []));
    const broken = errors.find(({ code = '' }) => !NO_ADDRESS.has(code));
    if (broken) return inconclusive(`the resolver: ${endOf(broken).error}`);
    this.#known.delete(name);
    return fail(errors[0]?.code ?? 'ENOTFOUND');
  }
}
