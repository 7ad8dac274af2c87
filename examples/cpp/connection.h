// Settings, the channel to the servers, and what all calls have in common.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

// The value of an environment variable, or the default if it is unset or empty.
std::string Setting(const char* name, const std::string& fallback);
int Number(const char* name, int fallback);

// Writes one line to standard output and flushes it. Threads may call it at the same time.
void Print(const std::string& line);

// Opens one channel that uses all servers.
std::shared_ptr<grpc::Channel> Connect();

// Adds the token to a call. The file is read each time, so the token may be renewed.
void Authorize(grpc::ClientContext& context);

// The method, the code, the reason of Rollcall and the message of a call that failed.
std::string Describe(const std::string& method, const grpc::Status& status);

// Ends the process at once. Other threads still run, so nothing is destroyed.
[[noreturn]] void End(int exit_code);
[[noreturn]] void Fail(const std::string& text);

// A random factor from `least` to `most`.
double Random(double least, double most);
