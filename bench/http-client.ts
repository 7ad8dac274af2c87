import { Agent, request as httpRequest } from 'node:http';
import { type Call, Caller, FRAME_HEADER_BYTES } from './client.js';

/** Connections with one call in flight each, as HTTP/1.1 has it. */
const CONNECTIONS = 50;

/** A client that calls over HTTP/1.1, with the message as it is or as JSON. */
export class HttpBenchClient extends Caller {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });

  constructor(
    private readonly port: number,
    private readonly format: 'proto' | 'json',
  ) {
    super();
  }

  connected(): Promise<void> {
    return Promise.resolve();
  }

  call({ path, body, json }: Call): Promise<Buffer> {
    const sent = this.format === 'json' ? Buffer.from(JSON.stringify(json)) : body.subarray(FRAME_HEADER_BYTES);
    const headers = { 'content-type': `application/${this.format}`, 'content-length': sent.length };
    const options = { host: '127.0.0.1', port: this.port, path, method: 'POST', agent: this.#agent, headers };
    return new Promise((resolve, reject) => {
      const request = httpRequest(options, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => {
          if (response.statusCode === 200) resolve(Buffer.concat(parts));
          else reject(new Error(`${path}: HTTP ${response.statusCode}: ${Buffer.concat(parts).toString()}`));
        });
      });
      request.on('error', reject);
      request.end(sent);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
