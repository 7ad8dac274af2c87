const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes text. Throws if the bytes are not UTF-8. A byte order mark is part of the text. */
export const decodeUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes);
