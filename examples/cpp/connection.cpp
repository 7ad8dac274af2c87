#include "connection.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <netdb.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <vector>

namespace {

// round_robin uses all servers that are ready. The health check leaves out those that shut down or cannot acknowledge
// heartbeats. A call that is answered with UNAVAILABLE goes to another server.
constexpr char kServiceConfig[] = R"({
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": ""},
  "methodConfig": [{
    "name": [{"service": "rollcall.v1.RegistryService"}, {"service": "rollcall.v1.ConfigService"}],
    "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"]}}]})";

std::string ReadFile(const std::string& name) {
  std::ifstream file(name);
  if (!file) Fail("cannot read " + name);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

// The address of HOST:PORT in numbers, or nothing if it has none of the family.
std::string Resolve(const std::string& server, int family) {
  const auto colon = server.rfind(':');
  if (colon == std::string::npos) Fail("ROLLCALL_SERVERS: no port in " + server);
  const std::string host = server.substr(0, colon), port = server.substr(colon + 1);
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return "";
  std::array<char, NI_MAXHOST> numbers{};
  getnameinfo(found->ai_addr, found->ai_addrlen, numbers.data(), numbers.size(), nullptr, 0, NI_NUMERICHOST);
  freeaddrinfo(found);
  return (family == AF_INET6 ? "[" + std::string(numbers.data()) + "]" : numbers.data()) + ":" + port;
}

// One name is left to the resolver of gRPC, which uses all its addresses. For several names gRPC has no target. A list
// of addresses is one, if all of them are of one family.
std::string Target(const std::vector<std::string>& servers) {
  if (servers.size() == 1) return "dns:///" + servers[0];
  for (const int family : {AF_INET, AF_INET6}) {
    std::string target;
    for (const auto& server : servers) {
      const std::string address = Resolve(server, family);
      if (address.empty()) break;
      target += (target.empty() ? (family == AF_INET ? "ipv4:" : "ipv6:") : ",") + address;
      if (&server == &servers.back()) return target;
    }
  }
  Fail("ROLLCALL_SERVERS: the hosts have no addresses of one family");
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect() {
  std::vector<std::string> servers;
  std::istringstream list(Setting("ROLLCALL_SERVERS", "localhost:7400"));
  for (std::string server; std::getline(list >> std::ws, server, ',');) servers.push_back(server);

  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  // Otherwise a server that comes back may wait for a connection for 2 min.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 3000);
  // The name that the certificate of each server must have.
  if (servers.size() > 1) arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, servers[0]);

  const std::string ca = Setting("ROLLCALL_CA", "");
  grpc::SslCredentialsOptions tls;
  if (!ca.empty()) tls.pem_root_certs = ReadFile(ca);
  const auto credentials = ca.empty() ? grpc::InsecureChannelCredentials() : grpc::SslCredentials(tls);
  return grpc::CreateCustomChannel(Target(servers), credentials, arguments);
}

void Authorize(grpc::ClientContext& context) {
  const std::string file = Setting("ROLLCALL_TOKEN_FILE", "");
  if (file.empty()) return;
  std::string token;
  if (std::ifstream(file) >> token) context.AddMetadata("authorization", "Bearer " + token);
  else std::fprintf(stderr, "cannot read a token in %s\n", file.c_str());
}

std::string Describe(const std::string& method, const grpc::Status& status) {
  static constexpr std::array kCodes{
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
      "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  // Errors of the network and of gRPC itself have no ErrorInfo.
  std::string reason = "-";
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) reason = info.reason();
  }
  return method + " " + kCodes.at(status.error_code()) + " " + reason + " " + status.error_message();
}

std::string Setting(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value && *value ? value : fallback;
}

int Number(const char* name, int fallback) {
  try {
    return std::stoi(Setting(name, std::to_string(fallback)));
  } catch (const std::exception&) {
    Fail(std::string(name) + " is not a number");
  }
}

void Print(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

void End(int exit_code) { std::_Exit(exit_code); }

void Fail(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
  End(2);
}

double Random(double least, double most) {
  thread_local std::mt19937_64 random(std::random_device{}());
  return std::uniform_real_distribution(least, most)(random);
}
