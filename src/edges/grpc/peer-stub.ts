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

/** The calls of PeerService at one address, over gRPC. Each is given up after CALL_MAX_MS. */
export class GrpcPeerStub {
  readonly #client: InstanceType<typeof PeerServiceClient>;

  /** Does not wait for a connection. */
  constructor(address: string) {
    this.#client = new PeerServiceClient(address, credentials.createInsecure(), CHANNEL);
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
    this.#client.close();
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
