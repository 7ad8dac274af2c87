import type { Failure } from '../../api/call/failure.js';
import type { Encoded } from '../../api/call/message.js';
import type { StreamTransport } from '../../api/call/sink.js';
import { LAST_BYTES_MAX_MS } from '../../api/call/streams.js';
import type { Clock, Timer } from '../../base/clock.js';
import { COMMON_HEADERS, type Exchange, send } from './exchange.js';
import type { StreamFraming } from './stream-framings.js';

/** The sending half of a stream over HTTP: the body of one response. */
export class HttpStream implements StreamTransport {
  #begun = false;
  #cut: Timer | undefined;

  constructor(
    private readonly exchange: Exchange,
    private readonly framing: StreamFraming,
    private readonly clock: Clock,
  ) {
    exchange.response.on('close', () => this.#cut?.cancel());
  }

  write(message: Encoded, onTaken: () => void): number {
    this.#begin();
    const bytes = this.framing.message(this.exchange, message);
    this.exchange.response.write(bytes, (error) => {
      if (!error) onTaken();
    });
    return bytes.length;
  }

  end(failure?: Failure): void {
    const { exchange, framing } = this;
    const refusal = failure && !this.#begun ? framing.refusal(exchange, failure) : undefined;
    if (refusal) return void send(exchange, refusal);
    this.#begin();
    exchange.response.end(framing.end(exchange, failure));
    this.#cutLater();
  }

  onClosed(listener: () => void): void {
    const { response, call } = this.exchange;
    const closed = (): void => {
      call.end();
      listener();
    };
    // The end of the response comes first, and with a reader that takes nothing long before the connection's.
    response.on('prefinish', closed);
    response.on('close', closed);
  }

  onReleased(listener: () => void): void {
    const { response } = this.exchange;
    if (response.destroyed) process.nextTick(listener);
    else response.on('close', listener);
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    const { response } = this.exchange;
    const { preamble } = this.framing;
    response.writeHead(200, { ...COMMON_HEADERS, ...this.framing.headers(this.exchange) });
    if (preamble !== undefined) response.write(preamble);
  }

  #cutLater(): void {
    const { response } = this.exchange;
    if (!response.destroyed) this.#cut ??= this.clock.after(LAST_BYTES_MAX_MS, () => response.destroy());
  }
}
