import { readFileSync } from 'node:fs';

/** Every proto the server speaks, as buf compiled it: a google.protobuf.FileDescriptorSet. */
export const IMAGE: Uint8Array = readFileSync(new URL('../../gen/image.binpb', import.meta.url));
