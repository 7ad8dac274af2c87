// The part of the protobuf wire format that the benchmark needs. It replaces generated code, so that the benchmark can
// call any build: the field numbers and the names of the methods are the contract, the generated code is not.

/** The wire types of protobuf: how long a field is. */
const WireType = { VARINT: 0, FIXED_64: 1, LENGTH_DELIMITED: 2, FIXED_32: 5 } as const;

function varint(value: number): Buffer {
  const bytes = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A field of type int32, int64, bool or enum. The value must not be negative. */
export function integerField(field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8 + WireType.VARINT), varint(value)]);
}

/** A field that is a message, given by its fields. */
export function messageField(field: number, ...fields: readonly Buffer[]): Buffer {
  const body = Buffer.concat(fields);
  return Buffer.concat([varint(field * 8 + WireType.LENGTH_DELIMITED), varint(body.length), body]);
}

/** A field of type string. */
export function textField(field: number, value: string): Buffer {
  return messageField(field, Buffer.from(value));
}

/** Counts how often a field occurs in a message, without its submessages. Throws on a malformed message. */
export function occurrences(message: Buffer, field: number): number {
  let at = 0;
  let count = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = message.readUInt8(at++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = readVarint();
    if (Math.floor(tag / 8) === field) count++;
    switch (tag % 8) {
      case WireType.VARINT:
        readVarint();
        break;
      case WireType.FIXED_64:
        at += 8;
        break;
      case WireType.LENGTH_DELIMITED: {
        const length = readVarint();
        at += length;
        break;
      }
      case WireType.FIXED_32:
        at += 4;
        break;
      default:
        throw new Error(`the answer has a field of wire type ${tag % 8}, which proto3 does not use`);
    }
  }
  if (at > message.length) throw new Error('the answer is cut off');
  return count;
}
