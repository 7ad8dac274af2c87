/** The names in a certificate by which its owner can be known. */
export interface CertificateNames {
  readonly uris: readonly string[];
  /** In lower case. */
  readonly dns: readonly string[];
}

/** One name as Node writes it: with its type, and as a JSON string if a character in it would make the list ambiguous. */
const ENTRY = /(?:^|, )([^:,]+):("(?:[^"\\]|\\.)*"|[^",]*)/y;

/**
 * Reads the subject alternative names of a certificate as Node writes them. A certificate whose names cannot be read without
 * doubt has none. The subject, which has no rules, is no name.
 */
export function namesIn(subjectAltName: string | undefined): CertificateNames {
  const uris: string[] = [];
  const dns: string[] = [];
  ENTRY.lastIndex = 0;
  for (let at = 0; at < (subjectAltName?.length ?? 0); at = ENTRY.lastIndex) {
    const found = ENTRY.exec(subjectAltName!);
    if (!found) return { uris: [], dns: [] };
    const [, type, name] = found as unknown as [string, string, string];
    if (type === 'URI') uris.push(name);
    if (type === 'DNS') dns.push(name.toLowerCase());
  }
  return { uris, dns };
}
