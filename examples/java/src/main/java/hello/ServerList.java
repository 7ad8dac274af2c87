package hello;

import io.grpc.Attributes;
import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;

/** Resolves every target with the scheme "list" to the same servers, each of them HOST:PORT. */
final class ServerList extends NameResolverProvider {
  private final List<URI> servers;

  ServerList(List<String> servers) {
    this.servers = servers.stream().map(server -> URI.create("//" + server)).toList();
  }

  @Override
  public NameResolver newNameResolver(URI target, NameResolver.Args args) {
    return new NameResolver() {
      private Listener2 listener;

      @Override
      public String getServiceAuthority() {
        return "rollcall";
      }

      @Override
      public void start(Listener2 listener) {
        this.listener = listener;
        refresh();
      }

      @Override
      public void refresh() { // also called after a connection has failed
        args.getOffloadExecutor().execute(() ->
            listener.onResult(ResolutionResult.newBuilder().setAddressesOrError(resolve()).build()));
      }

      @Override
      public void shutdown() {}
    };
  }

  private StatusOr<List<EquivalentAddressGroup>> resolve() {
    List<EquivalentAddressGroup> groups = new ArrayList<>();
    Status unknown = Status.UNAVAILABLE;
    for (URI server : servers) {
      try {
        List<SocketAddress> addresses = new ArrayList<>();
        for (InetAddress address : InetAddress.getAllByName(server.getHost())) {
          addresses.add(new InetSocketAddress(address, server.getPort()));
        }
        // Each server shows a certificate for its own name.
        Attributes name = Attributes.newBuilder()
            .set(EquivalentAddressGroup.ATTR_AUTHORITY_OVERRIDE, server.getAuthority())
            .build();
        groups.add(new EquivalentAddressGroup(addresses, name));
      } catch (UnknownHostException e) {
        unknown = Status.UNAVAILABLE.withDescription("no address of " + server.getHost());
      }
    }
    return groups.isEmpty() ? StatusOr.fromStatus(unknown) : StatusOr.fromValue(groups);
  }

  @Override
  public String getDefaultScheme() {
    return "list";
  }

  @Override
  protected boolean isAvailable() {
    return true;
  }

  @Override
  protected int priority() {
    return 0; // below that of DNS, whose scheme stays the default
  }
}
