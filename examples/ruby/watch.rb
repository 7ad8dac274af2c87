# frozen_string_literal: true

require_relative 'connection'

# Keeps a view of what a watch selects. WatchServices and WatchConfig have messages of the same shape, so one loop does
# for both.
class Watch
  SILENCE = 45 # seconds; a quiet watch has a message every 15 s at the latest
  FATAL = [GRPC::InvalidArgument, GRPC::PermissionDenied, GRPC::Unimplemented].freeze

  # method opens the stream, key names an item, and the block receives the view and the one before it: nil at first.
  def initialize(name, method, request, key, &show)
    @name = name
    @method = method
    @request = request
    @key = key
    @show = show
    @view = nil
    @staged = {} # items by key; nil for one that was removed
    @from_empty = false # whether what is staged is a snapshot
    @stopped = false
  end

  # Opens the stream again whenever it ends, until stop is called.
  def run
    wait = 0.2
    until @stopped
      begin
        follow { wait = 0.2 }
        warn "watch of #{@name} ended"
      rescue GRPC::BadStatus => e
        break if @stopped

        text = Connection.describe("watch of #{@name}:", e)
        raise CallFailed, text if FATAL.include?(e.class)

        warn text
      rescue GRPC::Core::CallError # a stream that was cancelled before its first message; no StandardError
        warn "watch of #{@name} was cancelled"
      end
      sleep(rand * wait)
      wait = [wait * 2, 5].min
    end
  end

  # Ends the stream by a cancel. Thread#kill would interrupt gRPC in the middle of a read.
  def stop
    @stopped = true
    @call&.cancel
  end

  private

  # Reads one stream to its end, and yields after each message.
  def follow
    @call = call = @method.call(@request, metadata: Connection.authorization, return_op: true)
    heard = now
    # A stream has no deadline for one message, so another thread cancels it if it is silent.
    guard = Thread.new do
      sleep 1 until now - heard > SILENCE
      call.cancel
    end
    call.execute.each_with_index do |message, index|
      break if @stopped

      heard = now
      receive(message, index.zero?)
      yield
    end
  ensure
    guard&.kill
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def receive(message, first)
    progress = message.progress
    unless progress.reset_reason == :RESET_REASON_UNSPECIFIED
      puts "reset #{@name} #{progress.reset_reason.to_s.delete_prefix('RESET_REASON_')}"
    end
    stage_from(empty: false) if first && !progress.continues
    stage_from(empty: true) if progress.kind == :WATCH_KIND_SNAPSHOT && !@from_empty
    message.upserted.each { |item| @staged[@key.call(item)] = item }
    message.removed.each { |item| @staged[@key.call(item)] = nil }
    if progress.revision != 0 # all that is staged belongs together
      apply
      @request.resume_token = progress.resume_token
    elsif progress.continue_token != '' # continues a view that was cut
      @request.resume_token = progress.continue_token
    end
  end

  def stage_from(empty:)
    @staged = {}
    @from_empty = empty
  end

  def apply
    before = @view
    @view = (@from_empty ? @staged : (before || {}).merge(@staged)).compact
    stage_from(empty: false)
    @show.call(@view, before) if @view != before
  end
end
