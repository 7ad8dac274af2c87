import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { CommandFailed, Exit } from '../../exits.js';

/** How long a registry has for an answer, and the most bytes of one: 50,000 instances of Eureka have as many. */
const TIMEOUT_MS = 10_000;
const BYTES_MAX = 64 * 1024 * 1024;

/** How a foreign registry is reached. */
export interface HttpOptions {
  /** File with the CA certificates (PEM) that verify it. Default: those of Node. */
  readonly ca?: string;
  /** Headers of every request. They are asked for each time: a token may change. */
  readonly headers?: () => Readonly<Record<string, string>>;
}

/** Reads JSON from an HTTP server, over connections that are kept. */
export class JsonReader {
  readonly #base: URL;
  readonly #agent: http.Agent;
  readonly #get: typeof http.get;

  /** Throws CommandFailed if the URL is none. */
  constructor(
    url: string,
    private readonly options: HttpOptions = {},
  ) {
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
      throw new CommandFailed(`${JSON.stringify(url)} is no URL, such as http://127.0.0.1:8500`, Exit.USAGE);
    this.#base = new URL(url.endsWith('/') ? url : `${url}/`);
    const isTls = this.#base.protocol === 'https:';
    const ca = options.ca === undefined ? {} : { ca: contentOf(options.ca) };
    this.#agent = isTls ? new https.Agent({ keepAlive: true, ...ca }) : new http.Agent({ keepAlive: true });
    this.#get = isTls ? https.get : http.get;
  }

  /** Reads a path below the URL. Rejects with an error that names the path. */
  read(path: string, signal: AbortSignal): Promise<unknown> {
    const url = new URL(path, this.#base);
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        clearTimeout(timer);
        reject(new Error(`${url.pathname}: ${why}`));
      };
      const giveUp = (why: string): void => {
        fail(why);
        request.destroy();
      };
      const headers = { accept: 'application/json', ...this.options.headers?.() };
      const request = this.#get(url, { agent: this.#agent, headers, signal }, (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          parts.push(part);
          if ((bytes += part.length) > BYTES_MAX) giveUp(`more than ${BYTES_MAX} bytes`);
        });
        response.on('error', (error) => fail(error.message));
        response.on('end', () => {
          if (response.statusCode !== 200) return fail(`status ${response.statusCode}`);
          try {
            resolve(JSON.parse(Buffer.concat(parts).toString('utf8')));
          } catch {
            fail('the answer is no JSON');
          }
        });
      });
      const timer = setTimeout(() => giveUp(`no answer within ${TIMEOUT_MS / 1_000} s`), TIMEOUT_MS);
      request.on('close', () => clearTimeout(timer));
      request.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** The content of a file that a flag names. Throws CommandFailed. */
export function contentOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new CommandFailed(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`, Exit.USAGE);
  }
}
