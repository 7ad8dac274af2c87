// A service that registers, sends heartbeats, watches a service and a config, and leaves in order when it is stopped.

#include <rollcall/v1/config_service.grpc.pb.h>
#include <rollcall/v1/registry_service.grpc.pb.h>
#include <signal.h>

#include <cmath>
#include <random>
#include <thread>

#include "connection.h"
#include "watch.h"

namespace pb = rollcall::v1;
using namespace std::chrono_literals;
using Seconds = std::chrono::duration<double>;
using Clock = std::chrono::steady_clock;

namespace {

// Waits, or returns true early when SIGTERM or SIGINT arrives. Both are blocked, so they wait for this call.
bool SignalWithin(const sigset_t& signals, Seconds time) {
  timespec wait{};
  wait.tv_sec = static_cast<time_t>(time.count());
  wait.tv_nsec = static_cast<long>((time.count() - std::floor(time.count())) * 1e9);
  return sigtimedwait(&signals, nullptr, &wait) > 0;
}

std::string Incarnation() {
  std::random_device random;
  std::string text;
  for (int i = 0; i < 24; ++i) text += "0123456789abcdef"[random() % 16];
  return text;
}

class Registration {
 public:
  Registration(const std::shared_ptr<grpc::Channel>& channel, pb::Instance me)
      : registry_(pb::RegistryService::NewStub(channel)), me_(std::move(me)) {}

  // Keeps the instance registered until a signal arrives and `drain` has passed, and then deregisters it.
  void Keep(const sigset_t& signals, std::chrono::seconds drain) {
    bool registered = false, ever = false;
    int failures = 0;
    Seconds wait = 0s;
    std::optional<Clock::time_point> leave;  // set while it drains
    for (;;) {
      if (leave) wait = std::clamp<Seconds>(*leave - Clock::now(), 0s, wait);
      if (SignalWithin(signals, wait) && !leave) leave = Clock::now() + drain;
      else if (leave && Clock::now() >= *leave) return Deregister();
      me_.mutable_reported()->set_state(leave ? pb::REPORTED_STATE_DRAINING : pb::REPORTED_STATE_HEALTHY);

      auto rejected = pb::REJECTION_REASON_UNSPECIFIED;
      const grpc::Status status = registered ? Beat(rejected) : Register();
      if (!status.ok()) {
        const auto code = status.error_code();
        const std::string failure = Describe(registered ? "Heartbeat" : "Register", status);
        // UNAUTHENTICATED may be a token in renewal, once the instance was registered.
        if (code == grpc::INVALID_ARGUMENT || code == grpc::FAILED_PRECONDITION || code == grpc::PERMISSION_DENIED ||
            (code == grpc::UNAUTHENTICATED && !ever)) {
          Fail(failure);
        }
        std::fprintf(stderr, "%s\n", failure.c_str());
        // Again at once, then after 1 s, doubled up to the interval, with full jitter.
        ++failures;
        const Seconds longest = std::min<Seconds>(interval_, std::exp2(std::min(failures, 12) - 2) * 1s);
        wait = failures == 1 ? 0s : longest * Random(0, 1);
        continue;
      }
      registered = ever = true;
      failures = 0;
      wait = interval_ * Random(0.9, 1.1);
      if (rejected == pb::REJECTION_REASON_NOT_REGISTERED) {
        registered = false;
        wait = 0s;
      } else if (rejected == pb::REJECTION_REASON_RETRY) {
        wait = interval_ / 4;
      } else if (rejected != pb::REJECTION_REASON_UNSPECIFIED) {
        Print("over " + pb::RejectionReason_Name(rejected).substr(sizeof "REJECTION_REASON"));
        End(3);
      }
    }
  }

 private:
  grpc::Status Register() {
    grpc::ClientContext context;
    Prepare(context);
    pb::RegisterRequest request;
    *request.mutable_instance() = me_;
    request.set_incarnation(incarnation_);
    pb::RegisterResponse response;
    const grpc::Status status = registry_->Register(&context, request, &response);
    if (status.ok()) {
      SetInterval(response.heartbeat_interval());
      Print("registered " + me_.service() + "/" + me_.id());
    }
    return status;
  }

  // A heartbeat that did not count is OK as a call. Then `rejected` has the reason.
  grpc::Status Beat(pb::RejectionReason& rejected) {
    grpc::ClientContext context;
    Prepare(context);
    pb::HeartbeatRequest request;
    auto* item = request.add_instances();
    item->set_service(me_.service());
    item->set_id(me_.id());
    item->set_incarnation(incarnation_);
    *item->mutable_reported() = me_.reported();
    pb::HeartbeatResponse response;
    const grpc::Status status = registry_->Heartbeat(&context, request, &response);
    if (status.ok()) SetInterval(response.heartbeat_interval());
    if (response.rejected_size() > 0) rejected = response.rejected(0).reason();
    return status;
  }

  // If no server answers, the instance expires as if the process had died.
  void Deregister() {
    for (int attempt = 1;; ++attempt) {
      grpc::ClientContext context;
      Prepare(context);
      pb::DeregisterRequest request;
      request.set_service(me_.service());
      request.set_id(me_.id());
      request.set_incarnation(incarnation_);
      pb::DeregisterResponse response;
      const grpc::Status status = registry_->Deregister(&context, request, &response);
      if (status.ok() || status.error_code() == grpc::NOT_FOUND) return;  // NOT_FOUND: it never was registered
      if (attempt == 2) Fail(Describe("Deregister", status));
    }
  }

  static void Prepare(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + 3s);
    Authorize(context);
  }

  void SetInterval(const google::protobuf::Duration& interval) {
    interval_ = interval.seconds() * 1s + interval.nanos() * 1ns;
  }

  const std::unique_ptr<pb::RegistryService::Stub> registry_;
  pb::Instance me_;
  // Drawn once per run: a newer process with this id has another one, and the server then rejects this process.
  const std::string incarnation_ = Incarnation();
  Seconds interval_ = 5s;
};

void WatchInstances(std::stop_token stop, const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                    const std::string& id) {
  const auto registry = pb::RegistryService::NewStub(channel);
  pb::WatchServicesRequest request;
  request.add_services(service);
  request.mutable_watcher()->set_instance_id(id);
  std::string last;
  Follow<pb::Instance, pb::WatchServicesRequest, pb::WatchServicesResponse>(
      stop, "services", "WatchServices", request,
      [&](auto* context, const auto& request, auto* queue) {
        return registry->AsyncWatchServices(context, request, queue, nullptr);
      },
      [](auto& message) {
        std::vector<Change<pb::Instance>> changes;
        for (auto& instance : *message.mutable_upserted()) changes.emplace_back(instance.id(), std::move(instance));
        for (const auto& gone : message.removed()) changes.emplace_back(gone.id(), std::nullopt);
        return changes;
      },
      [&](const auto& view) {
        std::string line = "instances " + service + ":";
        for (const auto& [id, instance] : view) line += " " + id;
        if (view.empty()) line += " -";
        if (line != last) Print(line);
        last = line;
      });
}

void WatchConfig(std::stop_token stop, const std::shared_ptr<grpc::Channel>& channel, const std::string& key,
                 const std::string& id) {
  const auto configs = pb::ConfigService::NewStub(channel);
  pb::WatchConfigRequest request;
  request.add_filters()->add_keys(key);
  request.mutable_watcher()->set_instance_id(id);
  std::string last;
  Follow<pb::Config, pb::WatchConfigRequest, pb::WatchConfigResponse>(
      stop, "config", "WatchConfig", request,
      [&](auto* context, const auto& request, auto* queue) {
        return configs->AsyncWatchConfig(context, request, queue, nullptr);
      },
      [](auto& message) {
        std::vector<Change<pb::Config>> changes;
        for (auto& config : *message.mutable_upserted()) changes.emplace_back(config.key(), std::move(config));
        for (const auto& gone : message.removed()) changes.emplace_back(gone.key(), std::nullopt);
        return changes;
      },
      [&](const auto& view) {
        const auto found = view.find(key);
        const std::string now = found != view.end() ? std::to_string(found->second.version())
                                : last.empty() || last == "missing" ? "missing" : "deleted";
        if (now != last) Print("config " + key + " " + now);
        last = now;
      });
}

}  // namespace

int main() {
  // Before any thread starts: the threads of gRPC inherit this.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  pb::Instance me;
  me.set_service(Setting("SERVICE", "hello"));
  me.set_id(Setting("INSTANCE_ID", "cpp"));
  me.set_address(Setting("ADDRESS", "127.0.0.1"));
  me.set_port(Number("PORT", 8080));
  me.mutable_ttl()->set_seconds(Number("TTL_SECONDS", 15));
  const std::chrono::seconds drain(Number("DRAIN_SECONDS", 1));
  const std::string service = Setting("WATCH_SERVICE", me.service());
  const std::string key = Setting("CONFIG_KEY", "hello.yaml");

  const auto channel = Connect();
  // The destructor of a jthread stops the watch and waits for its end.
  const std::jthread instances([&](std::stop_token stop) { WatchInstances(stop, channel, service, me.id()); });
  const std::jthread config([&](std::stop_token stop) { WatchConfig(stop, channel, key, me.id()); });
  Registration(channel, me).Keep(signals, drain);
  Print("deregistered");
}
