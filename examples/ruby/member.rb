# frozen_string_literal: true

require 'securerandom'
require 'google/protobuf/well_known_types'
require 'rollcall/v1/registry_service_services_pb'
require_relative 'connection'

# The registration is over, and the process must not register again.
class Over < StandardError; end

# Keeps this process registered: Register, heartbeats, Deregister.
class Member
  DEADLINE = 3 # seconds
  FATAL = [GRPC::InvalidArgument, GRPC::FailedPrecondition, GRPC::PermissionDenied].freeze

  def initialize(channel, instance)
    @registry = Connection.stub(Rollcall::V1::RegistryService, channel)
    @instance = instance
    @incarnation = SecureRandom.uuid # a newer run fences this one by another incarnation
    @interval = instance.ttl.to_f / 3
    @registered = false # false again while the server does not know the instance
    @accepted = false # stays true after the first Register
    @lock = Mutex.new
    @wake = ConditionVariable.new
    @beat_now = @stopped = false
  end

  # Reports a state with a heartbeat at once.
  def report(state)
    @lock.synchronize do
      @instance.reported = Rollcall::V1::Reported.new(state: state)
      @beat_now = true
      @wake.signal
    end
  end

  # Sends heartbeats until leave is called.
  def run
    wait = failures = 0
    while pause(wait)
      begin
        wait = @registered ? heartbeat : register
        failures = 0
      rescue GRPC::BadStatus => e
        text = Connection.describe(@registered ? 'Heartbeat' : 'Register', e)
        # UNAUTHENTICATED at the start is a mistake. Later, the token may be about to be renewed.
        raise CallFailed, text if FATAL.include?(e.class) || (e.is_a?(GRPC::Unauthenticated) && !@accepted)

        warn text
        # Again at once, then after 1 s, doubled, with full jitter.
        failures += 1
        wait = failures > 1 ? rand * [2**(failures - 2), @interval].min : 0
      end
    end
  end

  # Ends the heartbeats. The caller waits for the end of run, and calls deregister then.
  def stop
    @lock.synchronize do
      @stopped = true
      @wake.signal
    end
  end

  def deregister
    request = Rollcall::V1::DeregisterRequest.new(
      service: @instance.service, id: @instance.id, incarnation: @incarnation
    )
    @registry.deregister(request, **options)
  rescue GRPC::BadStatus => e
    return if Connection.reason_of(e) == 'INSTANCE_NOT_FOUND' # that one is gone already

    raise CallFailed, Connection.describe('Deregister', e)
  end

  private

  def register
    request = Rollcall::V1::RegisterRequest.new(instance: @instance, incarnation: @incarnation)
    reply = @registry.register(request, **options)
    reply.warnings.each { |warning| warn warning }
    @registered = @accepted = true
    puts "registered #{@instance.service}/#{@instance.id}"
    next_wait(reply)
  end

  def heartbeat
    item = Rollcall::V1::HeartbeatItem.new(
      service: @instance.service, id: @instance.id, incarnation: @incarnation, reported: @instance.reported
    )
    reply = @registry.heartbeat(Rollcall::V1::HeartbeatRequest.new(instances: [item]), **options)
    wait = next_wait(reply)
    rejected = reply.rejected.first # the call is OK all the same
    return wait unless rejected

    reason = rejected.reason.to_s.delete_prefix('REJECTION_REASON_')
    warn "heartbeat rejected: #{reason} #{rejected.message}"
    case reason
    when 'NOT_REGISTERED'
      @registered = false
      0
    when 'RETRY' then @interval / 4
    else raise Over, reason # SUPERSEDED, DEREGISTERED, NOT_ALLOWED or INVALID
    end
  end

  def options
    { deadline: Time.now + DEADLINE, metadata: Connection.authorization }
  end

  # The time until the next heartbeat, spread so that many clients do not beat in step.
  def next_wait(reply)
    @interval = reply.heartbeat_interval.to_f
    @interval * rand(0.9..1.1)
  end

  # Waits. A report ends the wait. Returns false once the heartbeats are to end.
  def pause(seconds)
    @lock.synchronize do
      @wake.wait(@lock, seconds) if seconds.positive? && !@beat_now && !@stopped
      @beat_now = false
      !@stopped
    end
  end
end
