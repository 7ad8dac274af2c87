import { promises as dns } from 'node:dns';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { OwnPlace } from '../model/probe-rule.js';

/** How often the names are resolved again. */
const LOOK_MS = 30_000;

/** A place that belongs to the servers or their store, by name or address. */
export interface NamedPlace {
  readonly host: string;
  readonly port: number;
}

/** The networks of this machine, such as "10.0.3.7/16", but for its loopback. */
export function ownNetworks(): string[] {
  return Object.values(networkInterfaces()).flatMap((all = []) =>
    all.flatMap(({ internal, cidr }) => (internal || cidr === null ? [] : [cidr])),
  );
}

/** The ports of this server at every address of the machine. */
function atEveryAddress(ports: readonly number[]): OwnPlace[] {
  const ips = Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address));
  return [...new Set([...ips, '127.0.0.1', '::1'])].flatMap((ip) => ports.map((port) => ({ ip, port })));
}

/** Keeps a prober from the ports of the servers and their store, whose names may come to mean other addresses. */
export class OwnPlaces implements Closeable {
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly ports: readonly number[],
    /** The places of the store and of the other servers now. */
    private readonly others: () => Promise<readonly NamedPlace[]>,
    private readonly set: (places: readonly OwnPlace[]) => void,
  ) {}

  start(): void {
    this.look();
    this.#timer = this.clock.every(LOOK_MS, () => this.look());
  }

  /** Looks again: another server has come. */
  look(): void {
    void this.#look();
  }

  close(): void {
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const resolved = await Promise.all((await this.others()).map((place) => addressesOf(place)));
    this.set([...atEveryAddress(this.ports), ...resolved.flat()]);
  }
}

/** A name that has no address now is no place. */
async function addressesOf({ host, port }: NamedPlace): Promise<OwnPlace[]> {
  if (isIP(host) !== 0) return [{ ip: host, port }];
  const found = await dns.lookup(host, { all: true }).catch(() => []);
  return found.map(({ address: ip }) => ({ ip, port }));
}
