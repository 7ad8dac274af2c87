import type { CallMetadata } from '../../api/call/call.js';

/** Metadata as headers; a name may have several values. `prefix` is put before each name. */
export function headersOf(pairs: CallMetadata['headers'] = [], prefix = ''): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (const [name, value] of pairs) (headers[prefix + name] ??= []).push(value);
  return headers;
}
