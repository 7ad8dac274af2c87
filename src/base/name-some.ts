/** The first names of a list, for a text of bounded length: "a, b and 3 more". */
export function nameSome(names: readonly string[], max: number): string {
  const more = names.length > max ? ` and ${names.length - max} more` : '';
  return names.slice(0, max).join(', ') + more;
}
