package hello;

import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** Opens a channel that uses all servers, and adds a token to calls. */
final class Channels {
  private Channels() {}

  /**
   * Calls go round all servers. One that cannot be reached, shuts down or reports NOT_SERVING is left out. Numbers are
   * doubles, as in JSON.
   */
  private static final Map<String, ?> SERVICE_CONFIG = Map.of(
      "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
      "healthCheckConfig", Map.of("serviceName", ""),
      "methodConfig", List.of(Map.of(
          "name", List.of(
              Map.of("service", "rollcall.v1.RegistryService"),
              Map.of("service", "rollcall.v1.ConfigService")),
          "retryPolicy", Map.of(
              "maxAttempts", 3.0,
              "initialBackoff", "0.1s",
              "maxBackoff", "1s",
              "backoffMultiplier", 2.0,
              "retryableStatusCodes", List.of("UNAVAILABLE")))));

  static ManagedChannel open(List<String> servers, String ca) throws IOException {
    ChannelCredentials credentials = ca.isEmpty()
        ? InsecureChannelCredentials.create()
        : TlsChannelCredentials.newBuilder().trustManager(new File(ca)).build();
    // One name in DNS for all servers needs no resolver: its target is "dns:///rollcall:7400".
    NameResolverRegistry.getDefaultRegistry().register(new ServerList(servers));
    return Grpc.newChannelBuilder("list:///rollcall", credentials)
        .defaultServiceConfig(SERVICE_CONFIG)
        // Finds out that the machine of a server is gone, which no packet says.
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS)
        .build();
  }

  /** Credentials for stubs: the token of a file. It is read for each call, so that the token can be renewed. */
  static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Path file;

    Bearer(Path file) {
      this.file = file;
    }

    @Override
    public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
      executor.execute(() -> {
        try {
          Metadata headers = new Metadata();
          headers.put(AUTHORIZATION, "Bearer " + Files.readString(file).strip());
          applier.apply(headers);
        } catch (IOException e) {
          applier.fail(Status.UNAUTHENTICATED.withDescription("no token: " + e));
        }
      });
    }
  }
}
