/**
 * The bytes of one message in two pieces. The fields of a protobuf message can be put together in any order, so a piece
 * that many calls send is encoded once, and an edge can send it without a copy.
 */
export class Pieces {
  constructor(
    /** The fields that many calls send. The same object is passed for as long as they do not change. */
    readonly shared: Uint8Array,
    /** The fields of this call. */
    readonly own: Uint8Array,
  ) {}
}

/** The bytes of one message, whole or in pieces. */
export type Encoded = Uint8Array | Pieces;

/** Returns true if a reply is encoded already. */
export function isEncoded(reply: unknown): reply is Encoded {
  return reply instanceof Uint8Array || reply instanceof Pieces;
}

/** The size of a message in bytes. */
export function sizeOf(message: Encoded): number {
  return message instanceof Pieces ? message.shared.length + message.own.length : message.length;
}

/** The bytes of a message, in one piece. */
export function whole(message: Encoded): Uint8Array {
  return message instanceof Pieces ? Buffer.concat([message.shared, message.own]) : message;
}
