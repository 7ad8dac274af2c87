/**
 * Makes a function that reads a fact of a connection once: a property of a socket costs more than the rest of a call, and a
 * socket that was closed does not know its address any more.
 */
export function perConnection<Connection extends object, Fact>(
  read: (connection: Connection) => Fact,
): (connection: Connection) => Fact {
  const known = new WeakMap<Connection, { readonly fact: Fact }>();
  return (connection) => {
    let found = known.get(connection);
    if (!found) known.set(connection, (found = { fact: read(connection) }));
    return found.fact;
  };
}
