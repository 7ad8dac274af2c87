package hello;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.ErrorInfo;
import io.grpc.CallCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import rollcall.v1.ConfigServiceGrpc;
import rollcall.v1.Instance;
import rollcall.v1.RegistryServiceGrpc;

/**
 * An instance of a service in Rollcall: it registers, sends heartbeats, watches a service and a config, and leaves in
 * order when it is stopped.
 */
public final class Hello {
  private Hello() {}

  public static void main(String[] args) throws Exception {
    String service = env("SERVICE", "hello");
    Duration ttl = seconds("TTL_SECONDS", "15");
    Duration drain = seconds("DRAIN_SECONDS", "1");
    Instance me = Instance.newBuilder()
        .setService(service)
        .setId(env("INSTANCE_ID", "java"))
        .setAddress(env("ADDRESS", "127.0.0.1"))
        .setPort(Integer.parseInt(env("PORT", "8080")))
        .setTtl(Durations.fromMillis(ttl.toMillis()))
        .build();
    List<String> servers = List.of(env("ROLLCALL_SERVERS", "localhost:7400").split(","));
    ManagedChannel channel = Channels.open(servers, env("ROLLCALL_CA", ""));
    String tokenFile = env("ROLLCALL_TOKEN_FILE", "");
    CallCredentials token = tokenFile.isEmpty() ? null : new Channels.Bearer(Path.of(tokenFile)); // null: no token
    var registry = RegistryServiceGrpc.newBlockingV2Stub(channel).withCallCredentials(token);
    var configs = ConfigServiceGrpc.newBlockingV2Stub(channel).withCallCredentials(token);

    // After SIGTERM, Java ends with 143 as soon as its hooks return. This one does not return: the main thread ends the
    // process when the instance has left.
    CountDownLatch stop = new CountDownLatch(1);
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      stop.countDown();
      try {
        main.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }));

    start(Watch.ofService(registry, env("WATCH_SERVICE", service)));
    start(Watch.ofConfig(configs, env("CONFIG_KEY", "hello.yaml")));
    new Registration(channel, registry, me, ttl.dividedBy(3)).keep(stop, drain);
    System.out.println("deregistered");
    exit(0);
  }

  private static void start(Runnable watch) {
    Thread thread = new Thread(watch);
    thread.setDaemon(true);
    thread.start();
  }

  /** Ends the process without hooks: the one above waits for the main thread. */
  static void exit(int code) {
    System.out.flush();
    Runtime.getRuntime().halt(code);
  }

  /** Ends the process after an error: a repeat of the call does not help. */
  static void fail(String method, StatusException e) {
    log(method, e);
    exit(2);
  }

  /** Logs which call failed, and why: the code, the reason of Rollcall and the message. */
  static void log(String method, StatusException e) {
    String reason = "-"; // errors of gRPC itself have no reason
    try {
      for (Any detail : StatusProto.fromThrowable(e).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        }
      }
    } catch (InvalidProtocolBufferException broken) {
      reason = "?";
    }
    var status = e.getStatus();
    String cause = status.getCause() == null ? "" : " (" + status.getCause().getMessage() + ")";
    System.err.println(method + ": " + status.getCode() + " " + reason + ": " + status.getDescription() + cause);
  }

  private static String env(String name, String fallback) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? fallback : value;
  }

  private static Duration seconds(String name, String fallback) {
    return Duration.ofMillis(Math.round(Double.parseDouble(env(name, fallback)) * 1000));
  }
}
