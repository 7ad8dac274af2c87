package hello;

import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import rollcall.v1.Config;
import rollcall.v1.ConfigFilter;
import rollcall.v1.ConfigServiceGrpc.ConfigServiceBlockingV2Stub;
import rollcall.v1.Instance;
import rollcall.v1.RegistryServiceGrpc.RegistryServiceBlockingV2Stub;
import rollcall.v1.ResetReason;
import rollcall.v1.WatchConfigRequest;
import rollcall.v1.WatchConfigResponse;
import rollcall.v1.WatchKind;
import rollcall.v1.WatchProgress;
import rollcall.v1.WatchServicesRequest;
import rollcall.v1.WatchServicesResponse;

/**
 * Opens a stream, and opens it again with the last token after each end. What has arrived is staged until a message has
 * a revision; the view then gets all of it at once.
 */
final class Watch<M> implements Runnable {
  /** A silent stream is dead: a live one has a bookmark every 15 s. */
  private static final long SILENCE_SECONDS = 45;

  private static final Duration LEAST = Duration.ofMillis(200);
  private static final Duration MOST = Duration.ofSeconds(5);

  /** Applies staged messages. If snapshot is set, they replace the view. */
  private interface View<M> {
    void apply(boolean snapshot, List<M> staged);
  }

  private final String method;
  private final String name;
  private final Function<String, BlockingClientCall<?, M>> open;
  private final Function<M, WatchProgress> progress;
  private final View<M> view;

  private String token = "";
  private List<M> staged = new ArrayList<>();
  private boolean snapshot;
  private Duration backoff = LEAST;

  private Watch(
      String method,
      String name,
      Function<String, BlockingClientCall<?, M>> open,
      Function<M, WatchProgress> progress,
      View<M> view) {
    this.method = method;
    this.name = name;
    this.open = open;
    this.progress = progress;
    this.view = view;
  }

  @Override
  public void run() {
    try {
      while (true) {
        try {
          readStream();
        } catch (StatusException e) {
          switch (e.getStatus().getCode()) {
            case INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED -> Hello.fail(method, e);
            default -> Hello.log(method, e);
          }
        }
        TimeUnit.NANOSECONDS.sleep(Registration.jitter(backoff).toNanos());
        backoff = backoff.multipliedBy(2).compareTo(MOST) < 0 ? backoff.multipliedBy(2) : MOST;
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void readStream() throws StatusException, InterruptedException {
    BlockingClientCall<?, M> call = open.apply(token);
    try {
      M message = call.read(SILENCE_SECONDS, TimeUnit.SECONDS);
      if (message != null && !progress.apply(message).getContinues()) {
        drop();
      }
      while (message != null) { // null: the server ended the stream with OK
        backoff = LEAST;
        stage(message);
        message = call.read(SILENCE_SECONDS, TimeUnit.SECONDS);
      }
    } catch (TimeoutException e) {
      throw Status.CANCELLED.withDescription("the stream was silent").asException();
    } finally {
      call.cancel("not read any more", null); // does nothing after the end of the stream
    }
  }

  private void stage(M message) {
    WatchProgress p = progress.apply(message);
    if (p.getResetReason() != ResetReason.RESET_REASON_UNSPECIFIED) {
      String reason = p.getResetReason().name().replace("RESET_REASON_", "");
      System.out.println("reset " + name + " " + reason);
    }
    if (p.getKind() == WatchKind.WATCH_KIND_SNAPSHOT && !snapshot) {
      drop();
      snapshot = true;
    }
    staged.add(message);
    if (p.getRevision() != 0) {
      view.apply(snapshot, staged);
      drop();
      token = p.getResumeToken();
    } else if (!p.getContinueToken().isEmpty()) {
      token = p.getContinueToken(); // the next stream sends only the rest of this view
    }
  }

  private void drop() {
    staged = new ArrayList<>();
    snapshot = false;
  }

  static Watch<WatchServicesResponse> ofService(RegistryServiceBlockingV2Stub registry, String service) {
    return new Watch<>(
        "WatchServices",
        "services",
        token -> registry.watchServices(
            WatchServicesRequest.newBuilder().addServices(service).setResumeToken(token).build()),
        WatchServicesResponse::getProgress,
        new View<>() {
          private final SortedMap<String, Instance> instances = new TreeMap<>();
          private String shown = "";

          @Override
          public void apply(boolean snapshot, List<WatchServicesResponse> staged) {
            if (snapshot) {
              instances.clear();
            }
            for (WatchServicesResponse m : staged) {
              m.getRemovedList().forEach(gone -> instances.remove(gone.getId()));
              m.getUpsertedList().forEach(instance -> instances.put(instance.getId(), instance));
            }
            String ids = instances.isEmpty() ? "-" : String.join(" ", instances.keySet());
            if (!ids.equals(shown)) {
              shown = ids;
              System.out.println("instances " + service + ": " + ids);
            }
          }
        });
  }

  static Watch<WatchConfigResponse> ofConfig(ConfigServiceBlockingV2Stub configs, String key) {
    return new Watch<>(
        "WatchConfig",
        "config",
        token -> configs.watchConfig(WatchConfigRequest.newBuilder()
            .addFilters(ConfigFilter.newBuilder().addKeys(key))
            .setResumeToken(token)
            .build()),
        WatchConfigResponse::getProgress,
        new View<>() {
          private Config current; // a real service reads its settings from the text
          private String shown = "";

          @Override
          public void apply(boolean snapshot, List<WatchConfigResponse> staged) {
            if (snapshot) {
              current = null;
            }
            for (WatchConfigResponse m : staged) {
              if (m.getRemovedCount() > 0) {
                current = null;
              }
              for (Config config : m.getUpsertedList()) {
                current = config;
              }
            }
            boolean never = shown.isEmpty() || shown.equals("missing");
            String state = current != null ? "" + current.getVersion() : never ? "missing" : "deleted";
            if (!state.equals(shown)) {
              shown = state;
              System.out.println("config " + key + " " + state);
            }
          }
        });
  }
}
