// The loop of a watch: it keeps a view, and continues it after each end of the stream.
#pragma once

#include <rollcall/v1/watch.pb.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "connection.h"

// An item to set, or to remove if it has no value.
template <class Item>
using Change = std::pair<std::string, std::optional<Item>>;

// The view, and the changes that wait until a message carries a revision. Then all of them are applied together.
template <class Item>
class View {
 public:
  std::map<std::string, Item> items;
  std::string token;

  // Takes one message. Returns true if the view now equals the store at a revision.
  bool Take(bool first, const rollcall::v1::WatchProgress& progress, std::vector<Change<Item>> changes) {
    const bool is_snapshot = progress.kind() == rollcall::v1::WATCH_KIND_SNAPSHOT;
    if ((first && !progress.continues()) || (is_snapshot && !staged_is_snapshot_)) {
      staged_.clear();
      staged_is_snapshot_ = is_snapshot;
    }
    std::move(changes.begin(), changes.end(), std::back_inserter(staged_));
    if (progress.revision() == 0) {
      if (!progress.continue_token().empty()) token = progress.continue_token();
      return false;
    }
    if (staged_is_snapshot_) items.clear();
    for (auto& [name, item] : staged_) {
      if (item) items.insert_or_assign(name, std::move(*item));
      else items.erase(name);
    }
    staged_.clear();
    staged_is_snapshot_ = false;
    token = progress.resume_token();
    return true;
  }

 private:
  std::vector<Change<Item>> staged_;
  bool staged_is_snapshot_ = false;
};

// Waits for the one operation of a stream that is under way. Bookmarks come every 15 s, so a stream that is silent for
// 45 s is dead.
inline bool Next(grpc::CompletionQueue& queue, grpc::ClientContext& context) {
  void* tag = nullptr;
  bool ok = false;
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(45);
  if (queue.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::TIMEOUT) return ok;
  context.TryCancel();
  queue.Next(&tag, &ok);
  return false;
}

// Follows a watch until it is stopped. `open` starts the stream, `split` returns the changes of a message, and `show`
// is called with each view.
template <class Item, class Request, class Response>
void Follow(std::stop_token stop, const std::string& name, const std::string& method, Request request,
            const std::function<std::unique_ptr<grpc::ClientAsyncReader<Response>>(
                grpc::ClientContext*, const Request&, grpc::CompletionQueue*)>& open,
            const std::function<std::vector<Change<Item>>(Response&)>& split,
            const std::function<void(const std::map<std::string, Item>&)>& show) {
  using namespace std::chrono_literals;
  View<Item> view;
  std::chrono::duration<double> pause = 200ms;
  while (!stop.stop_requested()) {
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    Authorize(context);
    std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
    request.set_resume_token(view.token);
    const auto stream = open(&context, request, &queue);
    bool first = true;
    Response message;
    for (bool ok = Next(queue, context); ok; first = false, pause = 200ms) {
      stream->Read(&message, nullptr);
      ok = Next(queue, context);
      if (!ok) break;
      const auto& progress = message.progress();
      if (progress.reset_reason() != rollcall::v1::RESET_REASON_UNSPECIFIED) {
        Print("reset " + name + " " + ResetReason_Name(progress.reset_reason()).substr(sizeof "RESET_REASON"));
      }
      if (view.Take(first, progress, split(message))) show(view.items);
    }
    grpc::Status status;
    stream->Finish(&status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (stop.stop_requested()) return;

    const auto code = status.error_code();
    const std::string failure = Describe(method, status);
    if (code == grpc::INVALID_ARGUMENT || code == grpc::PERMISSION_DENIED || code == grpc::UNIMPLEMENTED) Fail(failure);
    std::fprintf(stderr, "%s\n", failure.c_str());
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, stop, pause * Random(0, 1), [] { return false; });
    pause = std::min<std::chrono::duration<double>>(pause * 2, 5s);
  }
}
