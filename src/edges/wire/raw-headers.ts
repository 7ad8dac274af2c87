/**
 * Returns true if a request has more than one header "authorization": the one that counts would be a matter of taste. Node
 * passes on the first alone, and the raw headers have all.
 */
export function hasTwoCredentials(rawHeaders: readonly string[]): boolean {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (rawHeaders[i]!.length === NAME.length && rawHeaders[i]!.toLowerCase() === NAME) count++;
  return count > 1;
}

const NAME = 'authorization';
