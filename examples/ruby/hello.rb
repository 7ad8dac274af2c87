# frozen_string_literal: true

# An instance of a service: it registers, sends heartbeats, watches a service and a config, and leaves in order.

require 'rollcall/v1/config_service_services_pb'
require 'rollcall/v1/registry_service_services_pb'
require_relative 'connection'
require_relative 'member'
require_relative 'watch'

SERVICE = ENV.fetch('SERVICE', 'hello')
INSTANCE_ID = ENV.fetch('INSTANCE_ID', 'ruby')
WATCH_SERVICE = ENV.fetch('WATCH_SERVICE', SERVICE)
CONFIG_KEY = ENV.fetch('CONFIG_KEY', 'hello.yaml')
DRAIN_SECONDS = Float(ENV.fetch('DRAIN_SECONDS', '1'))
WATCHER = Rollcall::V1::WatcherIdentity.new(name: SERVICE, instance_id: INSTANCE_ID) # operators see it

def instance
  ttl = Rational(ENV.fetch('TTL_SECONDS', '15'))
  Rollcall::V1::Instance.new(
    service: SERVICE,
    id: INSTANCE_ID,
    address: ENV.fetch('ADDRESS', '127.0.0.1'),
    port: Integer(ENV.fetch('PORT', '8080')),
    ttl: Google::Protobuf::Duration.new(seconds: ttl.floor, nanos: ((ttl % 1) * 1_000_000_000).to_i),
    reported: Rollcall::V1::Reported.new(state: :REPORTED_STATE_HEALTHY)
  )
end

def watch_services(channel)
  registry = Connection.stub(Rollcall::V1::RegistryService, channel)
  request = Rollcall::V1::WatchServicesRequest.new(services: [WATCH_SERVICE], watcher: WATCHER)
  Watch.new('services', registry.method(:watch_services), request, :id.to_proc) do |view|
    puts "instances #{WATCH_SERVICE}: #{view.empty? ? '-' : view.keys.sort.join(' ')}"
  end
end

def watch_config(channel)
  configs = Connection.stub(Rollcall::V1::ConfigService, channel)
  filter = Rollcall::V1::ConfigFilter.new(keys: [CONFIG_KEY])
  request = Rollcall::V1::WatchConfigRequest.new(filters: [filter], watcher: WATCHER)
  Watch.new('config', configs.method(:watch_config), request, :key.to_proc) do |view, before|
    absent = before ? 'deleted' : 'missing'
    puts "config #{CONFIG_KEY} #{view[CONFIG_KEY]&.version || absent}"
  end
end

# Runs a part in a thread of its own. An error goes to the main thread, which waits for events or joins the thread.
def start(part, events)
  Thread.new do
    Thread.current.report_on_exception = false
    part.run
  rescue Exception => e # rubocop:disable Lint/RescueException -- some errors of gRPC are no StandardError
    events << e
    raise
  end
end

def main
  events = Thread::Queue.new # a trap may use a queue, but no mutex
  %w[TERM INT].each { |signal| trap(signal) { events << :stop } }

  channel = Connection.open
  member = Member.new(channel, instance)
  beats = start(member, events)
  watches = [watch_services(channel), watch_config(channel)].each { |watch| start(watch, events) }

  event = events.pop
  raise event if event.is_a?(Exception)

  member.report(:REPORTED_STATE_DRAINING)
  sleep DRAIN_SECONDS # the work that is open ends here
  member.stop
  beats.join # raises the error of this part, if it had one
  watches.each(&:stop)
  member.deregister
  puts 'deregistered'
end

$stdout.sync = true # also if it is no terminal
begin
  main
rescue Over => e
  puts "over #{e.message}"
  exit 3
rescue CallFailed => e
  warn e.message
  exit 2
end
