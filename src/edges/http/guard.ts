import type { IncomingHttpHeaders } from 'node:http';
import { isLoopbackHost } from '../../base/hosts.js';
import { RollcallError } from '../../model/errors.js';

/** The hosts and web pages that the HTTP port answers. */
export interface GuardParts {
  /** True if the server listens on loopback only. */
  readonly loopback: boolean;
  /** Names that a request may give as its host, besides those of loopback. Empty beyond loopback: any. */
  readonly hosts: readonly string[];
  /** Origins of web pages that may call, such as "https://console.example.org". */
  readonly origins: readonly string[];
}

/**
 * Keeps web pages of strangers away. A browser lets any page send some kinds of requests to any server, also one on
 * loopback; and a page can give its own name the address 127.0.0.1. So the host of a request must be a name of this server,
 * and the page that sends it must be of this server or be listed.
 */
export class Guard {
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;
  /** The last host that is a name of this server: most requests have the same. */
  #lastKnown = '';

  constructor(private readonly parts: GuardParts) {
    this.#hosts = new Set(parts.hosts.map((host) => host.toLowerCase()));
    this.#origins = new Set(parts.origins);
  }

  /** Throws NOT_FROM_THERE if a request must not be answered. */
  check(headers: IncomingHttpHeaders): void {
    const { host = '', origin, 'sec-fetch-site': site } = headers;
    if (!this.#knowsHost(host))
      throw refused(`the host ${JSON.stringify(host)} is not a name of this server; see --http-hosts`);
    if (this.allows(origin)) return;
    const isForeign = origin !== undefined && originHost(origin) !== host.toLowerCase();
    // A browser says whether another site sent the request, also where it sends no origin.
    if (isForeign || site === 'cross-site' || site === 'same-site')
      throw refused('a web page of another origin sent the request; see --http-cors-origins');
  }

  /** Returns true if the pages of an origin may read the answers. */
  allows(origin: string | undefined): origin is string {
    return origin !== undefined && this.#origins.has(origin);
  }

  #knowsHost(host: string): boolean {
    const { loopback, hosts } = this.parts;
    if (!loopback && hosts.length === 0) return true;
    if (host !== '' && host === this.#lastKnown) return true;
    const name = nameOf(host);
    const isKnown = this.#hosts.has(name) || isLoopbackHost(name);
    if (isKnown) this.#lastKnown = host;
    return isKnown;
  }
}

/** The host without port and brackets, in lower case. */
function nameOf(host: string): string {
  return host
    .toLowerCase()
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1');
}

/** The host and port of an origin; empty for an opaque one. */
const originHost = (origin: string): string => /^https?:\/\/([^/]+)$/.exec(origin.toLowerCase())?.[1] ?? '';

function refused(message: string): RollcallError {
  return new RollcallError('NOT_FROM_THERE', message);
}
