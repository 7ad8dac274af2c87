import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import {
  type AnswerPartRequest,
  type AnswerPartResponse,
  type GetStoreStatusRequest,
  type GetStoreStatusResponse,
  type HandOverRequest,
  type HandOverResponse,
  type LastHeardRequest,
  type LastHeardResponse,
  PeerServiceDefinition,
  type ProbeRequest,
  type ProbeResponse,
} from '../../gen/rollcall/peer/v1/peer_service.js';
import type { TlsSource } from '../../base/tls-source.js';
import { PROOF_HEADERS } from '../../model/member.js';

/** The deadline of a call to a peer. The judge has given up on the answer by then. */
const CALL_MAX_MS = 1_000;

const CHANNEL = {
  // A peer that is reachable again must be asked at once: each second without an answer is one without verdicts.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.enable_channelz': 0,
};

/** Proves the questions of this member, and checks the answers to them. */
export interface QuestionProofs<Proven = unknown> {
  ask(question: { path: string; bytes: Uint8Array; readOnly: boolean }): Promise<{
    headers: Record<string, string>;
    proven: Proven;
  }>;
  /** Throws if the answer is not proven. */
  check(proven: Proven, answer: Uint8Array, proof: string | undefined): void;
  /** The question was refused for its proof. */
  refused(): void;
}

/** TLS towards the other servers of the cluster. */
export interface PeerTls {
  /** The pair that this server shows, and the authorities of the others. */
  readonly source: TlsSource;
  /** The name in the certificates of the others. `undefined` if the host at which each is reached. */
  readonly name: string | undefined;
}

/** A method of PeerService: the part of its description that a call needs. */
interface PeerMethod<Request, Response> {
  readonly name: string;
  readonly requestType: { encode(message: Request): { finish(): Uint8Array } };
  readonly responseType: { decode(bytes: Uint8Array): Response };
  readonly options: { readonly idempotencyLevel?: string };
}

const { methods } = PeerServiceDefinition;

/** The calls of PeerService at one address, over gRPC. Each is proven, and given up after CALL_MAX_MS. */
export class GrpcPeerStub<Proven> {
  readonly #closed = new AbortController();
  #client: Client;

  /** Does not wait for a connection. Without `tls` the connection is not encrypted. */
  constructor(
    private readonly address: string,
    private readonly tls: PeerTls | undefined,
    private readonly proofs: QuestionProofs<Proven>,
  ) {
    this.#client = this.#open();
    tls?.source.onChange(() => {
      // Calls in flight end first: each has a deadline.
      this.#client.close();
      this.#client = this.#open();
    }, this.#closed.signal);
  }

  lastHeard(request: LastHeardRequest): Promise<LastHeardResponse> {
    return this.#call(methods.lastHeard, request);
  }

  handOver(request: HandOverRequest): Promise<HandOverResponse> {
    return this.#call(methods.handOver, request);
  }

  getStoreStatus(request: GetStoreStatusRequest): Promise<GetStoreStatusResponse> {
    return this.#call(methods.getStoreStatus, request);
  }

  answerPart(request: AnswerPartRequest): Promise<AnswerPartResponse> {
    return this.#call(methods.answerPart, request);
  }

  probe(request: ProbeRequest, timeoutMs: number): Promise<ProbeResponse> {
    return this.#call(methods.probe, request, timeoutMs);
  }

  close(): void {
    this.#closed.abort();
    this.#client.close();
  }

  #open(): Client {
    if (!this.tls) return new Client(this.address, credentials.createInsecure(), CHANNEL);
    const { source, name } = this.tls;
    const { ca = null, key = null, cert = null } = source.contents();
    const options = { ...CHANNEL, ...(name !== undefined && { 'grpc.ssl_target_name_override': name }) };
    return new Client(this.address, credentials.createSsl(ca, key, cert), options);
  }

  async #call<Request, Response>(
    method: PeerMethod<Request, Response>,
    request: Request,
    moreMs = 0,
  ): Promise<Response> {
    const path = `/${PeerServiceDefinition.fullName}/${method.name}`;
    const bytes = Buffer.from(method.requestType.encode(request).finish());
    const readOnly = method.options.idempotencyLevel === 'NO_SIDE_EFFECTS';
    const { headers, proven } = await this.proofs.ask({ path, bytes, readOnly });
    const { answer, proof } = await this.#send(path, bytes, headers, CALL_MAX_MS + moreMs);
    this.proofs.check(proven, answer, proof);
    return method.responseType.decode(answer);
  }

  #send(
    path: string,
    bytes: Buffer,
    headers: Record<string, string>,
    maxMs: number,
  ): Promise<{ answer: Buffer; proof?: string }> {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    return new Promise((resolve, reject) => {
      let proof: string | undefined;
      const options = { deadline: Date.now() + maxMs };
      this.#client
        .makeUnaryRequest(path, same, same, bytes, metadata, options, (error, answer) => {
          if (error?.code === status.UNAUTHENTICATED) this.proofs.refused();
          if (error) reject(error);
          else resolve({ answer: answer!, ...(proof !== undefined && { proof }) });
        })
        .on('metadata', (received: Metadata) => {
          const [given] = received.get(PROOF_HEADERS.proof);
          if (typeof given === 'string') proof = given;
        });
    });
  }
}

const same = (bytes: Buffer): Buffer => bytes;
