import { type CallOptions, type ClientUnaryCall, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  type GetStoreStatusRequest,
  type GetStoreStatusResponse,
  type HandOverRequest,
  type HandOverResponse,
  type LastHeardRequest,
  type LastHeardResponse,
  PeerServiceDefinition,
} from '../../gen/rollcall/peer/v1/peer_service.js';
import type { TlsSource } from '../../base/tls-source.js';
import { clientOf } from './client.js';

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

const PeerServiceClient = clientOf(PeerServiceDefinition);
const NO_METADATA = new Metadata();

type UnaryCall<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: CallOptions,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** TLS towards the other servers of the cluster. */
export interface PeerTls {
  /** The pair that this server shows, and the authorities of the others. */
  readonly source: TlsSource;
  /** The name in the certificates of the others. `undefined` if the host at which each is reached. */
  readonly name: string | undefined;
}

/** The calls of PeerService at one address, over gRPC. Each is given up after CALL_MAX_MS. */
export class GrpcPeerStub {
  readonly #closed = new AbortController();
  #client: InstanceType<typeof PeerServiceClient>;

  /** Does not wait for a connection. Without `tls` the connection is not encrypted. */
  constructor(
    private readonly address: string,
    private readonly tls: PeerTls | undefined,
  ) {
    this.#client = this.#open();
    tls?.source.onChange(() => {
      // Calls in flight end first: each has a deadline.
      this.#client.close();
      this.#client = this.#open();
    }, this.#closed.signal);
  }

  lastHeard(request: LastHeardRequest): Promise<LastHeardResponse> {
    return this.#call(this.#client.lastHeard, request);
  }

  handOver(request: HandOverRequest): Promise<HandOverResponse> {
    return this.#call(this.#client.handOver, request);
  }

  getStoreStatus(request: GetStoreStatusRequest): Promise<GetStoreStatusResponse> {
    return this.#call(this.#client.getStoreStatus, request);
  }

  close(): void {
    this.#closed.abort();
    this.#client.close();
  }

  #open(): InstanceType<typeof PeerServiceClient> {
    if (!this.tls) return new PeerServiceClient(this.address, credentials.createInsecure(), CHANNEL);
    const { source, name } = this.tls;
    const { ca = null, key = null, cert = null } = source.contents();
    const options = { ...CHANNEL, ...(name !== undefined && { 'grpc.ssl_target_name_override': name }) };
    return new PeerServiceClient(this.address, credentials.createSsl(ca, key, cert), options);
  }

  #call<Request, Response>(method: UnaryCall<Request, Response>, request: Request): Promise<Response> {
    const options = { deadline: Date.now() + CALL_MAX_MS };
    return new Promise((resolve, reject) => {
      method.call(this.#client, request, NO_METADATA, options, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  }
}
