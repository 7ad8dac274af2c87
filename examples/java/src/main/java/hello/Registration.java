package hello;

import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusException;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import rollcall.v1.DeregisterRequest;
import rollcall.v1.HeartbeatItem;
import rollcall.v1.HeartbeatRequest;
import rollcall.v1.HeartbeatResponse;
import rollcall.v1.Instance;
import rollcall.v1.RegisterRequest;
import rollcall.v1.RegisterResponse;
import rollcall.v1.RegistryServiceGrpc.RegistryServiceBlockingV2Stub;
import rollcall.v1.RejectedHeartbeat;
import rollcall.v1.Reported;
import rollcall.v1.ReportedState;

/** Keeps one instance registered. */
final class Registration {
  private final ManagedChannel channel;
  private final RegistryServiceBlockingV2Stub registry;
  private final Instance me;

  /** Drawn once per run, so that a newer run fences an older one. */
  private final String incarnation = UUID.randomUUID().toString();

  private ReportedState state = ReportedState.REPORTED_STATE_HEALTHY;
  private Duration interval;
  private boolean registered; // false: the next call is Register
  private boolean known; // a Register has succeeded before
  private int failures; // calls that failed, one after the other

  Registration(ManagedChannel channel, RegistryServiceBlockingV2Stub registry, Instance me, Duration interval) {
    this.channel = channel;
    this.registry = registry;
    this.me = me;
    this.interval = interval;
  }

  /** Registers, sends heartbeats until stop, reports DRAINING for a while, and deregisters. */
  void keep(CountDownLatch stop, Duration drain) throws InterruptedException {
    Duration wait = Duration.ZERO;
    while (!stop.await(wait.toMillis(), TimeUnit.MILLISECONDS)) {
      wait = beat();
    }
    state = ReportedState.REPORTED_STATE_DRAINING;
    wait = beat();
    long end = System.nanoTime() + drain.toNanos();
    for (long left = drain.toNanos(); left > 0; left = end - System.nanoTime()) {
      if (wait.toNanos() < left) {
        TimeUnit.NANOSECONDS.sleep(wait.toNanos());
        wait = beat();
      } else {
        TimeUnit.NANOSECONDS.sleep(left);
      }
    }
    deregister();
  }

  /** Sends one Register or Heartbeat, and returns how long to wait before the next one. */
  private Duration beat() {
    var calls = registry.withDeadlineAfter(3, TimeUnit.SECONDS);
    Reported reported = Reported.newBuilder().setState(state).build();
    List<RejectedHeartbeat> rejected = List.of();
    try {
      if (registered) {
        HeartbeatItem item = HeartbeatItem.newBuilder()
            .setService(me.getService())
            .setId(me.getId())
            .setIncarnation(incarnation)
            .setReported(reported)
            .build();
        HeartbeatResponse reply = calls.heartbeat(HeartbeatRequest.newBuilder().addInstances(item).build());
        rejected = reply.getRejectedList();
        interval = duration(reply.getHeartbeatInterval());
      } else {
        RegisterResponse reply = calls.register(RegisterRequest.newBuilder()
            .setInstance(me.toBuilder().setReported(reported))
            .setIncarnation(incarnation)
            .build());
        interval = duration(reply.getHeartbeatInterval());
        System.out.println("registered " + me.getService() + "/" + me.getId());
      }
    } catch (StatusException e) {
      return failed(e);
    }
    failures = 0;
    registered = known = true;
    Duration wait = interval.multipliedBy(9).dividedBy(10).plus(jitter(interval.dividedBy(5)));
    for (RejectedHeartbeat item : rejected) { // the call is OK even if the heartbeat did not count
      System.err.println("Heartbeat: " + item.getReason() + " " + item.getMessage());
      switch (item.getReason()) {
        case REJECTION_REASON_NOT_REGISTERED -> {
          registered = false;
          wait = Duration.ZERO;
        }
        case REJECTION_REASON_RETRY -> wait = interval.dividedBy(4);
        default -> {
          System.out.println("over " + item.getReason().name().replace("REJECTION_REASON_", ""));
          Hello.exit(3);
        }
      }
    }
    return wait;
  }

  private Duration failed(StatusException e) {
    String method = registered ? "Heartbeat" : "Register";
    switch (e.getStatus().getCode()) {
      case INVALID_ARGUMENT, FAILED_PRECONDITION, PERMISSION_DENIED -> Hello.fail(method, e);
      case UNAUTHENTICATED -> {
        if (!known) { // later it may be a token that is being renewed
          Hello.fail(method, e);
        }
      }
      default -> {}
    }
    Hello.log(method, e);
    // By default, the wait before another try to connect grows to 2 min. That is longer than a ttl.
    channel.resetConnectBackoff();
    failures++;
    if (failures == 1) {
      return Duration.ZERO;
    }
    Duration doubled = Duration.ofSeconds(1L << Math.min(failures - 2, 10));
    return jitter(doubled.compareTo(interval) < 0 ? doubled : interval);
  }

  private void deregister() {
    try {
      registry.withDeadlineAfter(3, TimeUnit.SECONDS).deregister(DeregisterRequest.newBuilder()
          .setService(me.getService())
          .setId(me.getId())
          .setIncarnation(incarnation)
          .build());
    } catch (StatusException e) {
      if (e.getStatus().getCode() != Status.Code.NOT_FOUND) { // NOT_FOUND: it is gone already
        Hello.fail("Deregister", e); // the instance expires as if the process had died
      }
    }
  }

  private static Duration duration(com.google.protobuf.Duration d) {
    return Duration.ofSeconds(d.getSeconds(), d.getNanos());
  }

  /** Draws a duration below the limit, so that clients do not call in step after a failure. */
  static Duration jitter(Duration limit) {
    return Duration.ofNanos(ThreadLocalRandom.current().nextLong(Math.max(1, limit.toNanos())));
  }
}
