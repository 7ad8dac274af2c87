import { Metadata, type StatusObject } from '@grpc/grpc-js';
import type { Failure } from '../../api/call/failure.js';
import { Status } from '../../gen/google/rpc/status.js';

/** The failure as trailers of gRPC: code, message, and google.rpc.Status with the details. */
export function toStatusObject({ code, message, status }: Failure): StatusObject {
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(Status.encode(status).finish()));
  return { code, details: message, metadata };
}
