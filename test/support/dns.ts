import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { TestContext } from 'node:test';

const PORT = 53;
const HEADER_BYTES = 12;
const TYPE_A = 1;
const NXDOMAIN = 3;

/** How a resolver answers. */
export type Answering = 'addresses' | 'NXDOMAIN' | 'nothing';

/** A resolver at an address of this machine, on port 53, that knows the IPv4 addresses of some names. */
export class TestResolver {
  mode: Answering = 'addresses';
  readonly #socket = createSocket('udp4');

  private constructor(private readonly addresses: ReadonlyMap<string, string>) {}

  static async listen(
    t: Pick<TestContext, 'after'>,
    address: string,
    addresses: ReadonlyMap<string, string>,
  ): Promise<TestResolver> {
    const resolver = new TestResolver(addresses);
    const socket = resolver.#socket;
    socket.on('message', (query, { port, address: from }) => {
      const answer = resolver.#answer(query);
      if (answer) socket.send(answer, port, from);
    });
    socket.bind(PORT, address);
    await once(socket, 'listening');
    t.after(() => socket.close());
    return resolver;
  }

  /** RFC 1035, as far as one question needs it. */
  #answer(query: Buffer): Buffer | undefined {
    if (this.mode === 'nothing') return undefined;
    const labels: string[] = [];
    let at = HEADER_BYTES;
    for (let length = query[at]!; length > 0; length = query[at]!) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const question = query.subarray(HEADER_BYTES, at + 5);
    const ip = this.mode === 'addresses' ? this.addresses.get(labels.join('.').toLowerCase()) : undefined;
    const records = ip && type === TYPE_A ? 1 : 0;
    const header = Buffer.alloc(HEADER_BYTES);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8180 | (ip ? 0 : NXDOMAIN), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records, 6);
    if (records === 0) return Buffer.concat([header, question]);
    const answer = Buffer.alloc(16);
    answer.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    answer.writeUInt16BE(TYPE_A, 2);
    answer.writeUInt16BE(1, 4);
    answer.writeUInt32BE(1, 6);
    answer.writeUInt16BE(4, 10);
    ip!.split('.').forEach((byte, i) => answer.writeUInt8(Number(byte), 12 + i));
    return Buffer.concat([header, question, answer]);
  }
}
